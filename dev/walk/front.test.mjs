// examples/web in a real browser, from another origin than the gateway's.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { launch } from '../../web/e2e/browser.mjs';

const { FRONT_URL: front, API_URL: api, OIDC_URL: oidc } = process.env;
const axe = readFileSync(new URL('../../web/e2e/node_modules/axe-core/axe.min.js', import.meta.url), 'utf8');

let browser;
before(async () => { browser = await launch(); });
after(async () => { await browser.close(); });

// person opens a browser of its own and signs somebody in. What the page complains about,
// a breach of its content security policy included, is in `faults`.
async function person(persona) {
	const context = await browser.newContext({ locale: 'fr-FR', viewport: { width: 320, height: 800 } });
	context.setDefaultTimeout(15_000);
	const page = await context.newPage();
	const faults = [];
	page.on('console', (message) => { if (page.url().startsWith(front) && message.type() === 'error') faults.push(message.text()); });
	page.on('pageerror', (error) => faults.push(String(error)));
	await page.goto(front);
	await accessible(page, 'Ma messagerie');
	await page.click('text=Se connecter');
	await page.click(`button[value="${persona}"]`);
	await heading(page, 'Vos messages');
	return { page, faults };
}

const heading = (page, title) => page.waitForFunction((wanted) => document.querySelector('h1')?.textContent === wanted && document.activeElement === document.querySelector('h1'), title);

// accessible checks a page once it is there, and that it fits a narrow window.
async function accessible(page, title) {
	await heading(page, title);
	await wellMade(page, title);
}

async function wellMade(page, title) {
	// Out of the page's content security policy, which does not let it in.
	const found = await page.evaluate(`(() => { const module = undefined, exports = undefined, define = undefined; ${axe}; return axe.run(); })()`);
	assert.deepEqual(found.violations.map(({ id, nodes }) => `${title}: ${id} ${nodes.map((node) => node.html)}`), []);
	assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), `${title} is wider than the window`);
}

async function choose(page, question, code) {
	await accessible(page, question);
	assert.equal(await page.locator('input:checked').count(), 0, 'a choice is made before');
	await page.check(`input[value="${code}"]`);
	await page.click('text=Continuer');
}

// call asks the gateway as somebody else, or as the member for what is stored.
async function call(persona, method, path, body, headers = {}) {
	const token = (await (await fetch(`${oidc}/dev/token?as=${persona}`)).text()).trim();
	const answer = await fetch(`${api}${path}`, { method, headers: { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json', ...headers }, ...(body && { body: JSON.stringify(body) }) });
	assert.equal(answer.status, 200, await answer.clone().text());
	return answer.json();
}

test('the main job, over a cut and a reload', async () => {
	const earlier = (await call('jeanne', 'GET', '/v1/conversations')).conversations.length;
	const { page, faults } = await person('jeanne');
	await page.click('text=Écrire un message');
	await accessible(page, 'Quel est le thème de votre message ?');
	await page.click('text=Continuer');
	await page.waitForSelector('[role=alert]:has-text("Choisissez une réponse")');
	await page.check('input[value="famille-logement"]');
	await page.click('text=Continuer');
	await choose(page, 'Quel est le sujet ?', 'allocations-familiales');
	await choose(page, 'Pour quel motif ?', 'paiement-absent');
	await accessible(page, 'Votre message');
	await page.waitForSelector('aside a[href^="https:"]');

	// Counted as the server counts: outer white space is none, an emoji is one.
	await page.fill('#text', '  neuf car🙂\n');
	assert.match(await page.textContent('#count'), /^9 caractères, de 10 à 750$/);
	await page.click('text=Continuer');
	await page.waitForSelector('[role=alert]:has-text("Votre texte en compte 9")');
	await wellMade(page, 'Votre message, refused');
	const text = 'e\u0301🙂'.repeat(375);
	await page.fill('#text', `${text}x`);
	assert.match(await page.textContent('#count'), /^751 /);
	await page.fill('#text', text);
	assert.match(await page.textContent('#count'), /^750 /);
	await page.click('text=Continuer');
	await accessible(page, 'Vérifiez votre message');
	for (const said of ['Allocations familiales', 'Je n’ai pas reçu mon paiement', text]) assert.ok((await page.textContent('dl')).includes(said), said);

	// The gateway takes it, the answer is lost, and the page is loaded anew.
	const keys = [];
	page.on('request', (request) => { if (request.method() === 'POST' && request.url() === `${api}/v1/conversations`) keys.push(request.headers()['idempotency-key']); });
	await page.route(`${api}/v1/conversations`, async (route) => {
		if (route.request().method() !== 'POST') return route.continue();
		await route.fetch();
		return route.abort();
	});
	await page.click('text=Envoyer le message');
	await page.waitForSelector('[role=alert]:has-text("ne répond pas")');
	assert.equal(faults.splice(0).length, 1, 'the browser complains of the cut alone');
	await page.unroute(`${api}/v1/conversations`);
	await page.reload();
	await heading(page, 'Vérifiez votre message');
	await page.click('text=Envoyer le message');
	await page.waitForSelector('[role=status]:has-text("Votre message est parti")');
	await accessible(page, 'Famille, Allocations familiales, aides au logement');
	assert.equal(keys.length, 2);
	assert.equal(keys[0], keys[1], 'another key after the reload');
	const { conversations } = await call('jeanne', 'GET', '/v1/conversations');
	assert.equal(conversations.length, earlier + 1, 'the message was sent twice');
	const [{ id, reference }] = conversations;
	assert.ok((await page.textContent('main')).includes(reference));

	// An agent answers; the member reads it and adds something.
	const { conversation: { lastMessageId } } = await call('claire', 'GET', `/v1/agent/conversations/${id}`);
	await call('claire', 'POST', `/v1/agent/conversations/${id}:reply`, { text: 'Votre paiement est parti ce matin.', final: true, lastMessageId }, { 'Idempotency-Key': crypto.randomUUID() });
	await page.click('text=Tous vos messages');
	await page.waitForSelector('li:has-text("non lu")');
	await accessible(page, 'Vos messages');
	await page.click('li a');
	await page.waitForSelector('.said:has-text("Votre paiement est parti ce matin.")');
	assert.equal((await call('jeanne', 'GET', `/v1/conversations/${id}`)).conversation.unread, false);
	await page.fill('#text', 'Merci, il est arrivé.');
	await page.reload();
	await page.waitForSelector('#text');
	assert.equal(await page.inputValue('#text'), 'Merci, il est arrivé.', 'what was written is lost by a reload');
	await page.click('form button');
	await page.waitForSelector('.said:has-text("Merci, il est arrivé.")');
	assert.deepEqual((await call('jeanne', 'GET', `/v1/conversations/${id}`)).conversation.messages.map(({ author }) => author), ['MEMBER', 'AGENT', 'MEMBER']);
	assert.equal(await page.inputValue('#text'), '');

	await page.click('text=Se déconnecter');
	await heading(page, 'Ma messagerie');
	assert.equal(await page.evaluate(() => sessionStorage.length), 0);
	assert.deepEqual(faults, []);
});

test('two profiles, a step back, and a session that has ended', async () => {
	const { page, faults } = await person('marc');
	await page.click('text=Écrire un message');
	await choose(page, 'Quel profil est concerné ?', 'EXPLOITANT');
	await heading(page, 'Quel est le thème de votre message ?');
	await page.check('input >> nth=0');
	await page.click('text=Continuer');
	await page.waitForFunction(() => location.hash !== '#/ecrire/theme');
	await page.goBack();
	await heading(page, 'Quel est le thème de votre message ?');
	assert.equal(await page.locator('input:checked').count(), 1, 'the choice is not there any more');
	// What the gateway refuses is told in its words, in the language of the page.
	await page.goto(`${front}#/messages/00000000-0000-7000-8000-000000000000`);
	await page.waitForSelector('[role=alert]:has-text("Cette conversation n’existe pas")');
	// Whoever's token has lapsed signs in again and is where they were.
	await page.evaluate(() => sessionStorage.setItem('session', JSON.stringify({ ...JSON.parse(sessionStorage.getItem('session')), token: 'lapsed' })));
	await page.goto(`${front}#/`);
	await page.click('button[value="marc"]');
	await heading(page, 'Vos messages');
	assert.match(faults.join(), /404.*401/);
});
