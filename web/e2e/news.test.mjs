// What is said to be new is new: a stream of hints is cut every so often, and begins again with a
// hint that says nothing has happened.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { launch, person, send, web } from './browser.mjs';
import { api } from './fields.mjs';

let browser;
before(async () => { browser = await launch(); });
after(async () => { await browser.close(); });

const key = () => ({ 'idempotency-key': crypto.randomUUID() });
const answer = async (id) => api('crm', 'POST', `/v1/agent/conversations/${id}:reply`, { lastMessageId: (await api('crm', 'GET', `/v1/agent/conversations/${id}`)).conversation.lastMessageId, text: 'Votre dossier est complet.', final: true }, { ...key(), 'x-agent': 'agents:claire' });

// Somebody whom no other test is: what happens to them is what happens here.
const member = 'particulier-4711';
const pages = {
	'a member’s conversations': { who: member, at: () => '/messagerie', event: 'conversation', happens: answer, says: 'Il y a du nouveau dans vos conversations.' },
	'a member’s conversation': { who: member, at: (id) => `/messagerie/conversations/${id}`, event: 'conversation', happens: answer, says: 'Il y a du nouveau dans cette conversation.' },
	// Nobody else writes about this theme.
	'the queue': { who: 'sofiane', about: ['retraite', 'paiement', 'absent'], at: () => '/agent?theme=retraite', event: 'queue', happens: (id) => api('sofiane', 'POST', `/v1/agent/conversations/${id}:claim`, {}), says: 'La file a changé.' },
	'an agent’s conversation': { who: 'claire', at: (id) => `/agent/conversations/${id}`, event: 'queue', happens: (id) => api(member, 'POST', `/v1/conversations/${id}:followUp`, { text: 'Une précision, entre-temps.' }, key()), says: 'La conversation a changé.' },
};

for (const [name, { who, about, at, event, happens, says }] of Object.entries(pages)) {
	test(`nothing is said to be new that is not: ${name}`, async () => {
		const writer = await person(browser, member);
		const { id } = await send(writer.page, 'Un message dont on attend des nouvelles.', about);
		await writer.context.close();
		const { page, context, faults } = await person(browser, who);
		let streams = 0;
		await page.route('**/evenements', (route) => { streams += 1; return route.fulfill({ contentType: 'text/event-stream', body: `retry: 200\nevent: ${event}\ndata: {"id":"","unread":0}\n\n` }); });
		const looked = () => page.waitForResponse((response) => response.request().resourceType() === 'fetch' && response.url() === web + at(id));
		const first = looked();
		await page.goto(web + at(id));
		await (await first).finished();
		await (await looked()).finished(); // what was found at first is shown by now
		assert.ok(streams > 1);
		assert.ok(await page.isHidden('#news'), await page.textContent('#news'));
		await happens(id);
		await page.waitForSelector('#news:not([hidden])');
		assert.ok((await page.textContent('#news')).replaceAll(' ', ' ').startsWith(says));
		assert.deepEqual(faults, []);
		await context.close();
	});
}

test('a draft that is not saved is said not to be', async () => {
	const { page, context } = await person(browser, member);
	const { id } = await send(page, 'Un message que l’on complète.');
	await page.goto(`${web}/messagerie/conversations/${id}`);
	await page.route('**/enregistrer', (route) => route.fulfill({ status: 503 }));
	await page.fill('#text', 'Une suite commencée');
	await page.waitForSelector('text=Le brouillon n’est pas enregistré. Nous réessayons.');
	await page.unroute('**/enregistrer');
	await page.waitForSelector('text=Brouillon enregistré.');
	await context.close();
});
