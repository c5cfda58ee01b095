// What people paste: it is shown as it will be stored, they are told of what was taken out, and it
// arrives at the agent's page and in the export, with JavaScript on and off.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { choose, launch, person, web, withService } from './browser.mjs';

let browser;
before(async () => { browser = await launch(); });
after(async () => { await browser.close(); });

// As the clipboard has it, as it is stored, and how many characters are taken out.
const pastes = {
	'a soft return from slides': ['Bonjour,\vmon paiement est en retard.', 'Bonjour,\nmon paiement est en retard.', 0],
	'a form feed from a PDF': ['Première page.\fSeconde page.', 'Première page.\nSeconde page.', 0],
	'a number from contacts': ['Appelez le \u2068+33 6 39 98 00 01\u2069.', 'Appelez le \u2068+33 6 39 98 00 01\u2069.', 0],
	'half a number from contacts': ['Appelez le \u2068+33 6 39 98 00 01', 'Appelez le +33 6 39 98 00 01', 1],
	'an Arabic name in isolates': ['Mon fils \u2067محمد بن علي\u2069 est né.', 'Mon fils \u2067محمد بن علي\u2069 est né.', 0],
	'smart quotes and no-break spaces': ['« L’aide\u00a0» m’a été\u202f“refusée”\u00a0!', '« L’aide\u00a0» m’a été\u202f“refusée”\u00a0!', 0],
	'an override and controls': ['Mon\u202e dossier\u0007 est\u001b complet.', 'Mon dossier est complet.', 3],
	'separators of lines and paragraphs': ['Un.\u2028Deux.\u2029Trois.', 'Un.\nDeux.\nTrois.', 0],
};
const said = (n) => (n === 1 ? /^1.caractère invisible a été retiré/ : new RegExp(`^${n}.caractères invisibles ont été retirés`));

for (const javaScriptEnabled of [true, false]) {
	test(`what is pasted goes through, JavaScript ${javaScriptEnabled ? 'on' : 'off'}`, async () => {
		const { page, context, faults } = await person(browser, `particulier-${javaScriptEnabled ? 4721 : 4722}`, { javaScriptEnabled });
		await context.grantPermissions(['clipboard-read', 'clipboard-write'], { origin: web });
		const agent = await person(browser, 'claire');
		for (const [name, [raw, stored, removed]] of Object.entries(pastes)) {
			await choose(page, withService);
			if (await page.isVisible('#proposal')) await page.click('#proposal button[value=ecrire]');
			await paste(page, raw);
			const shown = await page.inputValue('#text');
			if (javaScriptEnabled) {
				assert.equal(shown, stored, name);
				const taken = page.locator('#taken');
				if (removed) assert.match((await taken.textContent({ timeout: 2000 }).then(async (text) => text || taken.filter({ hasText: /\d/ }).textContent())), said(removed), name);
				else assert.equal(await taken.isHidden(), true, name);
			}
			await page.click('main form button.button');
			await page.waitForURL('**/recapitulatif');
			assert.equal(await page.locator('.recap .said').textContent(), stored, name);
			if (removed && !javaScriptEnabled) assert.match(await page.locator('#done').textContent(), said(removed), name);
			await page.click('text=Envoyer le message');
			await page.waitForURL('**/confirmation/**');
			const id = page.url().split('/').at(-1);
			const [download] = await Promise.all([page.waitForEvent('download'), page.goto(`${web}/messagerie/conversations/${id}/texte`).catch(() => {})]);
			const exported = readFileSync(await download.path(), 'utf8');
			assert.ok(exported.includes(stored), `${name}: ${exported}`);
			await agent.page.goto(`${web}/agent/conversations/${id}`);
			const read = agent.page.locator('.said').first();
			assert.equal(await read.textContent(), stored, name);
			assert.equal(await read.getAttribute('dir'), 'auto');
			// Each of its paragraphs goes its own way.
			assert.equal(await read.evaluate((el) => getComputedStyle(el).unicodeBidi), 'plaintext');
		}
		assert.deepEqual([...faults, ...agent.faults], []);
	});
}

// paste has the clipboard's text inserted by the keys; without a script, it comes as keys do.
async function paste(page, raw) {
	await page.locator('#text').focus();
	const worked = await page.evaluate((text) => navigator.clipboard.writeText(text).then(() => true, () => false), raw).catch(() => false);
	if (worked) await page.keyboard.press('Control+V');
	if (!worked || await page.inputValue('#text') === '') await page.keyboard.insertText(raw);
}

// The caret stays where it was, and what is typed on goes there.
test('a paste into the middle of a text', async () => {
	const { page } = await person(browser, 'particulier-4723');
	await choose(page, withService);
	if (await page.isVisible('#proposal')) await page.click('#proposal button[value=ecrire]');
	await page.fill('#text', 'Le début. La fin.');
	await page.locator('#text').evaluate((el) => { el.focus(); el.setSelectionRange(10, 10); });
	await page.keyboard.insertText('Le\u0007 milieu\f');
	await page.keyboard.type('et ');
	assert.equal(await page.inputValue('#text'), 'Le début. Le milieu\net La fin.');
});
