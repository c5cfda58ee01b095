// Follows a member's hints with the browser's own EventSource, and prints what it is told
// as JSON, a line each, until its input ends. For dev/stack's TestHintsThroughNginx.
import { launch } from './browser.mjs';

const browser = await launch();
try {
	const page = await browser.newPage();
	await page.exposeFunction('tell', (what) => console.log(JSON.stringify(what)));
	await page.goto(`${process.env.PROXY_URL}/page`);
	await page.evaluate(() => {
		window.source = new EventSource('/v1/conversations:watch');
		source.onopen = () => tell({ kind: 'open' });
		source.onmessage = ({ data, lastEventId }) => tell({ kind: 'hint', id: Number(lastEventId), ...JSON.parse(data) });
		// Its own troubles have no data; what the server says has.
		source.onerror = ({ data }) => tell({ kind: data ? 'failed' : 'cut', data, state: source.readyState });
	});
	for await (const _ of process.stdin);
} finally {
	await browser.close();
}
