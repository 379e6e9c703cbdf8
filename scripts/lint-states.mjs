// Prints what the Amazon States Language service finds in the files given; exits 1 where it finds anything.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

const require = createRequire(import.meta.url);
const { getYamlLanguageService } = require('amazon-states-language-service');
const { TextDocument } = require('vscode-languageserver-textdocument');

// The service knows nothing of CloudFormation's ${Name}: a stand-in of the same kind takes its place on the same line.
const substituted = (text) =>
  text.replace(/\$\{(\w+)\}/g, (_, name) => `arn:aws:lambda:eu-central-1:123456789012:function:${name}`);

const severities = { 1: 'error', 2: 'warning', 3: 'information', 4: 'hint' };
let findings = 0;
for (const file of process.argv.slice(2)) {
  const document = TextDocument.create(`file://${file}`, 'asl-yaml', 1, substituted(readFileSync(file, 'utf8')));
  const diagnostics = await getYamlLanguageService({}).doValidation(document);
  for (const { range, message, severity } of diagnostics) {
    findings += 1;
    const { line, character } = range.start;
    console.log(`${file}:${line + 1}:${character + 1}: ${severities[severity] ?? 'error'}: ${message}`);
  }
}
process.exitCode = findings > 0 ? 1 : 0;
