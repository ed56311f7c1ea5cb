// unanimous/nest against Nest 11 on Fastify.
import { NestFactory } from '@nestjs/core';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { suite } from '../support/suite.ts';
import { behaves } from './behaviour.ts';
import { frameworkOf, nestOptions } from './nest.ts';

const framework = frameworkOf((module) => NestFactory.create(module, new FastifyAdapter(), nestOptions));
await behaves(suite('unanimous/nest on Fastify'), framework);
