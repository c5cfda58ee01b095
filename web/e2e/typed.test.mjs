// How what was typed is kept: drafts, tabs, and what else an agent does meanwhile. That nothing is
// lost, whatever the field and whatever comes between, is tested in matrix.test.mjs in the browser,
// and in web/kept_test.go for every answer of the gateway.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { choose, launch, person, send, web } from './browser.mjs';

let browser;
before(async () => { browser = await launch(); });
after(async () => { await browser.close(); });

// begin comes to the field of a message, an online service that is proposed being set aside.
async function begin(page) {
	await choose(page);
	if (await page.isVisible('#proposal')) await page.click('#proposal button[value=ecrire]');
}

async function openForAgent(page) {
	const member = await person(browser, 'paul');
	const { id } = await send(member.page, 'Un message pour un conseiller.', []);
	await member.context.close();
	await page.goto(`${web}/agent/conversations/${id}`);
}

test('a follow-up survives its tab, is in no other tab\'s way, and is gone once it is sent', async () => {
	const { page, context, faults } = await person(browser, 'paul');
	const { id } = await send(page, 'Un message suivi d’un autre.', []);
	const at = `${web}/messagerie/conversations/${id}`;
	await page.goto(at);
	const text = `Une suite commencée ${crypto.randomUUID()}`;
	await page.fill('#text', text);
	await page.waitForSelector('text=Brouillon enregistré.');
	await page.type('#text', ' et reprise');
	const other = await context.newPage();
	await page.close();
	let found = '';
	for (let i = 0; i < 50 && found !== `${text} et reprise`; i += 1) {
		await other.goto(at);
		found = await other.inputValue('#text');
	}
	assert.equal(found, `${text} et reprise`);
	// Two tabs: the second to write is told, and overwrites nothing.
	const third = await context.newPage();
	await third.goto(at);
	await other.fill('#text', `${text} d’un onglet`);
	await other.waitForSelector('text=Brouillon enregistré.');
	await third.fill('#text', `${text} de l’autre onglet`);
	await third.waitForSelector('text=Ce brouillon a changé depuis');
	await other.reload();
	assert.equal(await other.inputValue('#text'), `${text} d’un onglet`);
	// Sent a moment after the last key, it is in the conversation and in no draft.
	await other.fill('#text', `${text} d’un onglet, envoyé`);
	await Promise.all([other.waitForEvent('domcontentloaded'), other.click('main form:has(#text) button.button')]);
	await other.waitForSelector('text=Votre message est ajouté');
	assert.ok((await other.textContent('#thread')).includes(`${text} d’un onglet, envoyé`));
	assert.equal(await other.inputValue('#text'), '');
	await other.goto(at);
	assert.equal(await other.inputValue('#text'), '');
	assert.deepEqual(faults, []);
});

test('of two tabs with one draft, neither overwrites the other unseen', async () => {
	const { page, context, faults } = await person(browser, 'paul');
	await begin(page);
	const first = `Un onglet ${crypto.randomUUID()}`, second = `Un autre onglet ${crypto.randomUUID()}`;
	const other = await context.newPage();
	await other.goto(page.url());
	await page.fill('#text', first);
	await page.waitForSelector('text=Brouillon enregistré.');
	await other.fill('#text', second);
	await other.waitForSelector('text=Ce brouillon a changé depuis');
	await other.click('main form:has(#text) button.button');
	await other.waitForSelector('#other');
	assert.deepEqual([await other.inputValue('#text'), await other.inputValue('#other')], [second, first]);
	await other.click('main form:has(#text) button.button');
	await other.waitForURL('**/recapitulatif');
	assert.ok((await other.textContent('.recap')).includes(second));
	assert.deepEqual(faults, []);
});

test('a draft is saved when its page is left, and said to be only when it is', async () => {
	const { page, faults } = await person(browser, 'paul');
	await begin(page);
	const at = page.url();
	const text = `Tapé juste avant de partir ${crypto.randomUUID()}`;
	await page.fill('#text', text);
	await page.waitForSelector('text=Brouillon enregistré.');
	await page.type('#text', ' encore');
	assert.equal(await page.textContent('#saved'), '');
	await page.goto(`${web}/aide`);
	let found = '';
	for (let i = 0; i < 50 && found !== `${text} encore`; i += 1) {
		await page.goto(at);
		found = await page.inputValue('#text');
	}
	assert.equal(found, `${text} encore`);
	// Loaded again faster than that, the page has it all the same, and goes on with it.
	await page.fill('#text', `${text} encore et encore`);
	await page.reload();
	await page.waitForFunction((want) => document.getElementById('text').value === want, `${text} encore et encore`);
	await page.fill('#text', `${text} !`);
	await page.waitForSelector('text=Brouillon enregistré.');
	// What cannot be saved is not said to be, and the browser asks before it is lost.
	await page.fill('#text', 'é'.repeat(20_000));
	await page.waitForSelector('text=Ce texte ne peut pas être enregistré comme brouillon.');
	const asked = page.waitForEvent('dialog');
	await page.close({ runBeforeUnload: true });
	const dialog = await asked;
	assert.equal(dialog.type(), 'beforeunload');
	await dialog.dismiss();
	assert.deepEqual(faults, []);
});

for (const javaScriptEnabled of [true, false]) {
	test(`what an agent has begun survives what else they do, JavaScript ${javaScriptEnabled ? 'on' : 'off'}`, async () => {
		const { page, context, faults } = await person(browser, 'claire', { javaScriptEnabled });
		const sofiane = await person(browser, 'sofiane');
		await sofiane.page.goto(`${web}/agent/modeles`);
		await sofiane.page.fill('#title', `Modèle ${crypto.randomUUID()}`);
		await sofiane.page.fill('#text', 'Votre dossier {{reference}} est complet.');
		await Promise.all([sofiane.page.waitForEvent('domcontentloaded'), sofiane.page.click('form:has(#title) button.button')]);
		await sofiane.context.close();
		await openForAgent(page);
		const at = page.url();
		const reply = `Une réponse commencée ${crypto.randomUUID()}`, note = `Une note commencée ${crypto.randomUUID()}`;
		const has = async (text, more) => assert.deepEqual([await page.inputValue('#text'), await page.inputValue('#note')], [text, more]);
		const press = (button) => Promise.all([page.waitForEvent('domcontentloaded'), page.click(button)]);
		await page.fill('#text', reply);
		await page.fill('#note', note);
		await press('#claim');
		await has(reply, note);
		await press('button[value=apercu]');
		await has(reply, note);
		await press('button[formaction$=noter]');
		await page.waitForSelector('text=La note est ajoutée.');
		await has(reply, '');
		await page.click('summary:has-text("Autres actions")');
		await press('button[formaction$=reclasser]');
		await has(reply, '');
		await press('button[value=modele]');
		const begun = await page.inputValue('#text');
		assert.ok(begun.startsWith(reply) && begun.length > reply.length, begun);
		await page.fill('#text', reply);
		await page.fill('#note', note);
		await page.click('summary:has-text("Autres actions")');
		await press('button[formaction$=relacher]');
		await page.goto(at);
		await has(reply, note);
		await press('button[value=envoyer]');
		await page.waitForSelector('text=La réponse est envoyée.');
		await has('', note);
		assert.ok((await page.textContent('#thread')).includes(reply));
		assert.deepEqual(faults, []);
		await context.close();
	});
}
