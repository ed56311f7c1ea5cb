// unanimous/nest against Nest 11 on Fastify.
import { NestFactory } from '@nestjs/core';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { suite } from '../support/suite.ts';
import { behaves } from './behaviour.ts';
import { type Create, frameworkOf, nestOnly, nestOptions } from './nest.ts';

const create: Create = (module) => NestFactory.create(module, new FastifyAdapter(), nestOptions);
const test = suite('unanimous/nest on Fastify');
const { db } = await behaves(test, frameworkOf(create));
nestOnly(test, create, db);
