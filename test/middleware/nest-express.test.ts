// unanimous/nest against Nest 11 on Express.
import { NestFactory } from '@nestjs/core';
import { ExpressAdapter } from '@nestjs/platform-express';
import { suite } from '../support/suite.ts';
import { behaves } from './behaviour.ts';
import { type Create, frameworkOf, nestOnly, nestOptions } from './nest.ts';

const create: Create = (module) => NestFactory.create(module, new ExpressAdapter(), nestOptions);
const test = suite('unanimous/nest on Express');
const { db } = await behaves(test, frameworkOf(create));
nestOnly(test, create, db);
