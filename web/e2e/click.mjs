// Writes one message as jeanne and prints what the browser knows of its trace, for
// dev/stack's TestTraceOfAClick.
import { choose, launch, person, web, withService, write } from './browser.mjs';

const browser = await launch();
try {
	const { page, faults } = await person(browser, 'jeanne');
	await choose(page, withService);
	await write(page, process.env.TEXT);
	const told = await page.evaluate(() => performance.getEntriesByType('navigation')[0].serverTiming.map(({ name, description }) => `${name};${description}`));
	const leaves = page.waitForRequest((sent) => sent.method() === 'POST' && sent.url().endsWith('/envoyer'));
	await page.click('text=Envoyer le message');
	const sent = await leaves;
	await page.waitForURL('**/confirmation/**');
	console.log(JSON.stringify({
		told, form: sent.postData(), faults, web,
		answered: (await (await sent.response()).allHeaders())['server-timing'],
		reference: (await page.textContent('.panel strong')).trim(),
	}));
} finally {
	await browser.close();
}
