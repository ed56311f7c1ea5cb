// unanimous/nest against Nest 11 on Express.
import { NestFactory } from '@nestjs/core';
import { ExpressAdapter } from '@nestjs/platform-express';
import { suite } from '../support/suite.ts';
import { behaves } from './behaviour.ts';
import { frameworkOf, nestOptions } from './nest.ts';

const framework = frameworkOf((module) => NestFactory.create(module, new ExpressAdapter(), nestOptions));
await behaves(suite('unanimous/nest on Express'), framework);
