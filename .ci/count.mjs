// Prints, from vitest's JSON reports, what failed and why, and "N passed, N failed" last; exits 1 unless each test has passed. A
// file that could not be loaded counts as one failure, and so does a report that is missing: then the build, the lint or vitest
// itself failed.
import { readFileSync } from 'node:fs';

const messageLines = 12;

function count(file) {
  try {
    const { numPassedTests, numFailedTests, testResults } = JSON.parse(readFileSync(file, 'utf8'));
    const unloaded = testResults.filter(
      ({ status, assertionResults }) => status === 'failed' && assertionResults.length === 0,
    );
    for (const { name, message } of unloaded) report(name, message);
    for (const { name, assertionResults } of testResults)
      for (const { status, fullName, failureMessages } of assertionResults)
        if (status === 'failed') report(`${name} > ${fullName}`, failureMessages.join('\n'));
    const failed = numFailedTests + unloaded.length;
    // A report without tests proves nothing.
    return { passed: numPassedTests, failed: numPassedTests + failed === 0 ? 1 : failed };
  } catch (error) {
    console.error(`No test results: ${error.message}`);
    return { passed: 0, failed: 1 };
  }
}

/** Repeats a failure at the end of the log, where a reader of its last lines finds it. */
function report(name, message) {
  console.log(`FAILED ${name}\n${message.split('\n').slice(0, messageLines).join('\n')}\n`);
}

const counts = process.argv.slice(2).map(count);
const sum = field => counts.reduce((total, one) => total + one[field], 0);
console.log(`${sum('passed')} passed, ${sum('failed')} failed`);
process.exit(sum('failed') === 0 ? 0 : 1);
