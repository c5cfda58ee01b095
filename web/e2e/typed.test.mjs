// What was typed is never lost: in a real browser, with JavaScript and without. What every form
// does with every answer of the gateway is tested in web/kept_test.go.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { away, choose, launch, limited, person, send, web } from './browser.mjs';

let browser;
before(async () => { browser = await launch(); });
after(async () => { await browser.close(); });

// Each form: who it is for, how one comes to its field, and the button that sends it.
const forms = {
	message: { persona: 'paul', open: begin, field: '#text', button: 'main form:has(#text) button.button' },
	'follow-up': { persona: 'paul', open: async (page) => { const { id } = await send(page, 'Un message suivi d’un autre.', []); await page.goto(`${web}/messagerie/conversations/${id}`); }, field: '#text', button: 'main form:has(#text) button.button' },
	preferences: { persona: 'marc', open: async (page) => { await page.goto(`${web}/profil`); await page.check('input[value=EXPLOITANT]'); await page.click('main button'); await page.goto(`${web}/preferences`); }, field: '#email', button: 'main form:has(#email) button.button', text: 'marque@7k3d.example' },
	reply: { persona: 'claire', open: openForAgent, field: '#text', button: 'button[value=envoyer]' },
	note: { persona: 'claire', open: openForAgent, field: '#note', button: 'form:has(#note) button' },
	template: { persona: 'sofiane', open: (page) => page.goto(`${web}/agent/modeles`), field: '#text', button: 'form:has(#title) button.button' },
};

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

// elsewhere has the next form of a page answered by another front end, whose gateway refuses all.
const elsewhere = (page, front) => page.route((url) => String(url).startsWith(web), async (route) => {
	const request = route.request();
	if (request.method() !== 'POST') return route.continue();
	const headers = { ...(await request.allHeaders()), origin: front, 'sec-fetch-site': 'same-origin', 'sec-fetch-mode': 'navigate' };
	return route.fulfill({ response: await route.fetch({ url: request.url().replace(web, front), headers, maxRedirects: 0 }) });
});

const disturbances = {
	'the session has ended': async ({ context }) => context.clearCookies({ name: /session/ }),
	'the gateway is away': async ({ page }) => elsewhere(page, away),
	'too many requests': async ({ page }) => elsewhere(page, limited),
};

// A third of the combinations, each form and each disturbance among them; TYPED=all runs all.
const all = process.env.TYPED === 'all';
let drawn = 0;
for (const [name, form] of Object.entries(forms)) {
	for (const [between, disturb] of Object.entries(disturbances)) {
		for (const javaScriptEnabled of [true, false]) {
			drawn += 2;
			if (!all && drawn % 3 !== (Object.keys(forms).indexOf(name) % 3)) continue;
			test(`${name}: ${between}, JavaScript ${javaScriptEnabled ? 'on' : 'off'}`, async () => {
				const who = await person(browser, form.persona, { javaScriptEnabled });
				const { page, context, faults } = who;
				await form.open(page);
				const text = form.text ?? `Texte marqué : ${crypto.randomUUID()}, « é » <&> 😀.`;
				await page.fill(form.field, text);
				await disturb(who);
				await Promise.all([page.waitForEvent('domcontentloaded'), page.click(form.button)]);
				if (between === 'the session has ended') {
					assert.match(await page.textContent('main'), /retrouver ce que vous avez écrit/);
					await page.click('main a.button');
					await page.click(`button:has-text("${form.persona}")`);
					await page.waitForURL((url) => String(url).startsWith(web));
					if (page.url().includes('/profil')) { await page.check('input[value=EXPLOITANT]'); await page.click('main button'); }
					await page.waitForURL('**/repris');
				}
				const typed = await page.locator('textarea, input[type=text], input[type=email]').evaluateAll((fields) => fields.map((field) => field.value));
				assert.ok(typed.includes(text), `${JSON.stringify(typed)} on ${page.url()}: ${await page.textContent('main')}`);
				assert.deepEqual(faults, []);
				await context.close();
			});
		}
	}
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
	await third.waitForSelector('text=Ce brouillon a changé dans un autre onglet');
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
	await other.waitForSelector('text=Ce brouillon a changé dans un autre onglet');
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
	// What cannot be saved is not said to be.
	await page.fill('#text', 'é'.repeat(20_000));
	await page.waitForSelector('text=Ce texte ne peut pas être enregistré comme brouillon.');
	assert.deepEqual(faults, []);
});
