// Drives Chromium for the tests: `node driver.mjs NODE_FOLDER CHROMIUM FLAG…`. Reads a command a line on stdin, as JSON
// with an `id`, and answers each with a line. It ends, and Chromium with it, when stdin ends.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const [folder, executablePath, ...args] = process.argv.slice(2);
const { chromium } = createRequire(`${folder}/package.json`)("playwright-core");
const browser = await chromium.launch({ executablePath, args });
const pages = new Map();

const commands = {
  async open({ page, url }) {
    // A context of its own: no connection and no cache is shared between pages.
    const opened = await (await browser.newContext()).newPage();
    pages.set(page, opened);
    await opened.goto(url);
  },
  evaluate: ({ page, script }) => pages.get(page).evaluate(script),
  async close({ page }) {
    await pages.get(page).context().close();
    pages.delete(page);
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { id, command, ...rest } = JSON.parse(line);
  let answer;
  try {
    answer = { id, value: (await commands[command](rest)) ?? null };
  } catch (error) {
    answer = { id, error: String(error) };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
await browser.close();
