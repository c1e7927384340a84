// Prints "N passed, N failed" from vitest's JSON report; exits 1 unless all passed. A file that could not be loaded counts as
// one failure, and so does a report that is missing: then the build, the lint or vitest itself failed.
import { readFileSync } from 'node:fs';

function count(file) {
  try {
    const { numPassedTests, numFailedTests, testResults } = JSON.parse(readFileSync(file, 'utf8'));
    const unloaded = testResults.filter(
      ({ status, assertionResults }) => status === 'failed' && assertionResults.length === 0,
    );
    return { passed: numPassedTests, failed: numFailedTests + unloaded.length };
  } catch (error) {
    console.error(`No test results: ${error.message}`);
    return { passed: 0, failed: 1 };
  }
}

const { passed, failed } = count(process.argv[2]);
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 && passed > 0 ? 0 : 1);
