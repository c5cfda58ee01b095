// The agents' half: a reply answers what was read, nothing typed is lost, and whoever is
// quoted is found.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { launch, person, saveTemplate, send, web } from './browser.mjs';

let browser;
before(async () => { browser = await launch(); });
after(async () => { await browser.close(); });

const opened = async (persona, id, options) => {
	const someone = await person(browser, persona, options);
	await someone.page.goto(`${web}/agent/conversations/${id}`);
	return someone;
};
const main = (page) => page.textContent('main');

for (const javaScriptEnabled of [true, false]) {
	const mode = `JavaScript ${javaScriptEnabled ? 'on' : 'off'}`;

	test(`a reply answers what was read, ${mode}`, async () => {
		const jeanne = await person(browser, 'jeanne');
		const { id } = await send(jeanne.page, `Bonjour, où en est mon dossier ${crypto.randomUUID()} ?`);
		const { page, faults } = await opened('claire', id, { javaScriptEnabled });
		const answer = `Votre dossier est complet (${crypto.randomUUID()}).`, more = `J’ai oublié une chose ${crypto.randomUUID()}.`;
		await page.fill('#text', answer);
		await jeanne.page.goto(`${web}/messagerie/conversations/${id}`);
		await jeanne.page.fill('#text', more);
		await jeanne.page.click('main form button.button');
		await jeanne.page.waitForSelector('text=Votre message est ajouté');
		await page.click('button[value=envoyer]');
		await page.waitForSelector('#faults');
		assert.match(await main(page), /a écrit depuis/);
		assert.equal(await page.inputValue('#text'), answer);
		assert.equal(await page.locator('#thread > li').count(), 2);
		assert.ok((await page.textContent('#thread > li:has(.badge)')).includes(more));
		await page.click('button[value=envoyer]');
		await page.waitForSelector('text=La réponse est envoyée');
		assert.equal(await page.locator('#thread > li').count(), 3);
		assert.deepEqual(faults, []);
	});

	test(`one is at the preview, and at the reply with the template, ${mode}`, async () => {
		const jeanne = await person(browser, 'jeanne');
		const { id } = await send(jeanne.page, `Bonjour, où en est mon dossier ${crypto.randomUUID()} ?`);
		const sofiane = await person(browser, 'sofiane'), words = `Votre dossier est à l’étude (${crypto.randomUUID()}).`;
		await saveTemplate(sofiane.page, words, words);
		const { page, faults } = await opened('claire', id, { javaScriptEnabled });
		await page.fill('#text', 'Bonjour,');
		await page.click('button[value=apercu]');
		await page.waitForSelector('#pv:focus');
		assert.match(await page.textContent('#pv'), /ce que verra l’adhérent/);
		await page.selectOption('#modele', { label: words });
		await page.click('button[value=modele]');
		await page.waitForSelector('#text:focus');
		assert.equal(await page.locator('#text').evaluate((el) => document.getElementById(el.getAttribute('aria-describedby')).textContent), 'Le modèle est inséré dans votre réponse.');
		assert.equal(await page.inputValue('#text'), `Bonjour,\n\n${words}`);
		assert.deepEqual(faults, []);
	});

	test(`a second final answer is meant, or not sent, ${mode}`, async () => {
		const jeanne = await person(browser, 'jeanne');
		const { id } = await send(jeanne.page, `Bonjour, où en est mon dossier ${crypto.randomUUID()} ?`);
		const claire = await opened('claire', id, { javaScriptEnabled }), sofiane = await opened('sofiane', id, { javaScriptEnabled });
		const first = `Il est complet (${crypto.randomUUID()}).`, second = `Il vous manque une pièce (${crypto.randomUUID()}).`;
		await sofiane.page.fill('#text', second);
		await claire.page.fill('#text', first);
		await claire.page.click('button[value=envoyer]');
		await claire.page.waitForSelector('text=La réponse est envoyée');
		await sofiane.page.click('button[value=envoyer]');
		await sofiane.page.waitForSelector('#faults');
		assert.ok((await sofiane.page.textContent('#thread')).includes(first));
		assert.equal(await sofiane.page.inputValue('#text'), second);
		await sofiane.page.click('text=Envoyer une réponse complémentaire');
		await sofiane.page.waitForSelector('text=La réponse est envoyée');
		assert.deepEqual([...claire.faults, ...sofiane.faults], []);
	});

	test(`the session ends while an agent writes, ${mode}`, async () => {
		const jeanne = await person(browser, 'jeanne');
		const { id } = await send(jeanne.page, `Bonjour, où en est mon dossier ${crypto.randomUUID()} ?`);
		const { page, context } = await opened('claire', id, { javaScriptEnabled });
		const answer = `Votre dossier est complet (${crypto.randomUUID()}).`;
		await page.fill('#text', answer);
		await context.clearCookies({ name: /session/ });
		await page.click('button[value=envoyer]');
		await page.waitForSelector('text=Votre session est terminée');
		await page.click('main a.button');
		await page.click('button:has-text("claire")');
		await page.waitForURL('**/repris');
		assert.equal(await page.inputValue('#text'), answer);
		await page.click('main form button.button');
		await page.waitForSelector('text=La réponse est envoyée');
		assert.ok((await page.textContent('#thread')).includes(answer));
	});

	test(`what is quoted is found, ${mode}`, async () => {
		const jeanne = await person(browser, 'jeanne');
		const { id, reference } = await send(jeanne.page, `Bonjour, où en est mon dossier ${crypto.randomUUID()} ?`);
		const { page } = await person(browser, 'sofiane', { javaScriptEnabled });
		await page.goto(`${web}/agent?etat=toutes`);
		if (javaScriptEnabled) await page.keyboard.press('/');
		else await page.focus('#q');
		await page.keyboard.type(reference.replace('MSA-', '').toLowerCase());
		await page.keyboard.press('Enter');
		await page.waitForURL('**/agent/recherche?r=*');
		assert.equal(await page.locator('.queue .item').count(), 1);
		await page.click('.queue h2 a');
		assert.match(page.url(), new RegExp(`/agent/conversations/${id}`));
		await page.click('a.back');
		assert.doesNotMatch(page.url(), new RegExp(reference.replace('MSA-', ''), 'i'));
		assert.equal(await page.locator('.queue .item').count(), 1);
		// So it is by the browser's own way back.
		await page.click('.queue h2 a');
		await page.goBack();
		assert.equal(await page.locator('.queue .item').count(), 1);
	});

	test(`the list is come back to with its filters, ${mode}`, async () => {
		const { page } = await person(browser, 'claire', { javaScriptEnabled });
		await page.goto(`${web}/agent`);
		await page.selectOption('#etat', 'toutes');
		await page.click('text=Filtrer');
		await page.waitForURL(/etat=toutes/);
		await page.click('.queue h2 a >> nth=0');
		await page.click('a.back');
		assert.equal(new URL(page.url()).searchParams.get('etat'), 'toutes');
	});
}

test('whoever writes keeps the claim', async () => {
	const jeanne = await person(browser, 'jeanne');
	const { id } = await send(jeanne.page, `Bonjour, où en est mon dossier ${crypto.randomUUID()} ?`);
	const { page, faults } = await person(browser, 'claire');
	await page.clock.install();
	await page.goto(`${web}/agent/conversations/${id}`);
	let renewed = 0;
	const count = (request) => { if (request.method() === 'POST' && request.url().endsWith('/prendre') && request.resourceType() === 'fetch') renewed += 1; };
	page.on('request', count);
	// Nobody holds it yet.
	await page.fill('#text', 'Bonjour');
	await page.clock.runFor('06:00');
	assert.equal(renewed, 0);
	await page.click('#claim');
	await page.waitForSelector('text=Vous avez pris la conversation en charge');
	// Nothing was typed.
	await page.clock.runFor('11:00');
	assert.equal(renewed, 0);
	// However much is typed, once in five minutes.
	const answer = page.waitForResponse((response) => response.url().endsWith('/prendre'));
	for (const text of ['B', 'Bo', 'Bon', 'Bonj']) await page.fill('#text', text);
	assert.equal((await answer).status(), 204);
	await page.fill('#text', 'Bonjour Jeanne');
	await page.clock.runFor('03:00');
	assert.equal(renewed, 1);
	await page.clock.runFor('03:00');
	assert.equal(renewed, 2);
	await page.clock.runFor('11:00');
	assert.equal(renewed, 2);
	assert.deepEqual(faults, []);
});
