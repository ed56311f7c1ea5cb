// Writes docs/api/*.api.md, the public types of each entry point, and docs/reference/*.api.md, what the comments say of them; or with no flag
// fails where they differ from the sources.
//
//   node --import tsx .ci/api-report.ts [--update]
//
// It reads the built declarations, so `npm run build` comes first; and it fails for what is exported without a comment.
import { Extractor, ExtractorConfig, ExtractorLogLevel, type ExtractorMessage } from '@microsoft/api-extractor';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { referenceOf } from './reference.ts';

const root = join(import.meta.dirname, '..');
const update = process.argv.includes('--update');
const entries = [
  { report: 'unanimous', declarations: 'dist/coordinator/index.d.ts' },
  ...['pg', 'mysql', 'redis', 'mail', 'files', 'testing'].map((part) => ({
    report: `unanimous-${part}`,
    declarations: `dist/datamanagers/${part}/index.d.ts`,
  })),
  ...['express', 'fastify', 'hono', 'http', 'koa', 'nest', 'opentelemetry'].map((part) => ({
    report: `unanimous-${part}`,
    declarations: `dist/middleware/${part}.d.ts`,
  })),
];

/** What the extractor knows of an entry, for its reference. */
function modelFile(report: string): string {
  return join(root, `temp/api/${report}.api.json`);
}

function configure(report: string, declarations: string): ExtractorConfig {
  const reportFolder = join(root, 'docs/api');
  mkdirSync(reportFolder, { recursive: true });
  return ExtractorConfig.prepare({
    configObjectFullPath: undefined,
    packageJsonFullPath: join(root, 'package.json'),
    configObject: {
      projectFolder: root,
      mainEntryPointFilePath: join(root, declarations),
      newlineKind: 'lf',
      compiler: {
        // The extractor brings an older TypeScript, which knows neither all options of tsconfig.json nor needs them.
        overrideTsconfig: {
          compilerOptions: {
            target: 'ES2022',
            lib: ['ES2023', 'ESNext.Disposable'],
            module: 'NodeNext',
            moduleResolution: 'NodeNext',
            strict: true,
            exactOptionalPropertyTypes: true,
            types: ['node'],
          },
          files: [join(root, declarations)],
        },
      },
      apiReport: {
        enabled: true,
        reportFileName: report,
        reportFolder,
        reportTempFolder: join(root, 'temp/api'),
      },
      docModel: { enabled: true, apiJsonFilePath: modelFile(report) },
      dtsRollup: { enabled: false },
      tsdocMetadata: { enabled: false },
      messages: {
        compilerMessageReporting: { default: { logLevel: ExtractorLogLevel.Error } },
        extractorMessageReporting: {
          default: { logLevel: ExtractorLogLevel.Error },
          // Everything that an entry point exports is public.
          'ae-missing-release-tag': { logLevel: ExtractorLogLevel.None },
          // A type that only another exported type mentions need not have a public name.
          'ae-forgotten-export': { logLevel: ExtractorLogLevel.None },
          'ae-internal-missing-underscore': { logLevel: ExtractorLogLevel.None },
          'ae-setter-with-docs': { logLevel: ExtractorLogLevel.None },
          'ae-unresolved-link': { logLevel: ExtractorLogLevel.None },
          'ae-undocumented': { logLevel: ExtractorLogLevel.Error },
        },
        // The comments are prose for editors, not TSDoc.
        tsdocMessageReporting: { default: { logLevel: ExtractorLogLevel.None } },
      },
    },
  });
}

/** Says where, what, and how to mend it, in place of the extractor's own words. */
function say(message: ExtractorMessage): void {
  message.handled = true;
  if (message.messageId === 'ae-undocumented' && isDocumentedElsewhere(message)) {
    message.logLevel = ExtractorLogLevel.None;
  }
  if (message.logLevel !== ExtractorLogLevel.Error && message.logLevel !== ExtractorLogLevel.Warning) return;
  const at = message.sourceFilePath === undefined ? '' : `${message.sourceFilePath}:${message.sourceFileLine}: `;
  console.log(`${at}${message.text} (${message.messageId})`);
}

/** Every error has a code and a name, which its class explains; and a driver's own documentation explains its types. */
function isDocumentedElsewhere({ text, sourceFilePath = '' }: ExtractorMessage): boolean {
  return /"(code|name)"/.test(text) || sourceFilePath.endsWith('/driver.d.ts');
}

/** Whether the entry is documented, and its report (now) agrees with the sources. */
function reportEntry(report: string, declarations: string): boolean {
  try {
    const options = { localBuild: update, messageCallback: say };
    const { apiReportChanged, errorCount } = Extractor.invoke(configure(report, declarations), options);
    if (apiReportChanged) {
      console.log(`docs/api/${report}.api.md ${update ? 'is updated' : 'differs from the sources: run npm run api'}`);
    }
    return isReferenceFresh(report) && errorCount === 0 && (update || !apiReportChanged);
  } catch (error) {
    // The extractor gives up on declarations that do not type-check, which check:package explains better.
    console.log(`${declarations} cannot be read: ${String(error).split('\n')[0]}`);
    return false;
  }
}

/** Whether the reference (now) says what the comments do. */
function isReferenceFresh(report: string): boolean {
  const path = `docs/reference/${report}.api.md`;
  const file = join(root, path);
  const reference = referenceOf(report.replace('-', '/'), modelFile(report));
  if (existsSync(file) && readFileSync(file, 'utf8') === reference) return true;
  if (!update) {
    console.log(`${path} differs from the sources: run npm run api`);
    return false;
  }
  mkdirSync(join(root, 'docs/reference'), { recursive: true });
  writeFileSync(file, reference);
  console.log(`${path} is updated`);
  return true;
}

let failed = false;
for (const { report, declarations } of entries) {
  if (!existsSync(join(root, declarations))) {
    console.log(`${declarations} must exist: run npm run build`);
    failed = true;
    continue;
  }
  failed = !reportEntry(report, declarations) || failed;
}
process.exitCode = failed ? 1 : 0;
