// Two tabs, and ways back that nobody planned: what was typed is there.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { launch, person, web } from './browser.mjs';
import { api, drafted, written } from './fields.mjs';

let browser;
before(async () => { browser = await launch(); });
after(async () => { await browser.close(); });

const sendButton = 'main form:has(#text) button.button';
const press = (page, button) => Promise.all([page.waitForEvent('domcontentloaded'), page.click(button)]);

// signInAs chooses on the provider's page who signs in.
async function signInAs(page, persona) {
	await page.locator('button[name=persona]').first().evaluate((el, name) => { el.value = name; }, persona);
	await page.locator('button[name=persona]').first().click();
	await page.waitForURL((url) => String(url).startsWith(web));
}

test('what another tab has saved stays when this one sends', async () => {
	const who = 'particulier-4731', { page, context } = await person(browser, who);
	// A message that is at its recap in one tab, and written on in another.
	const draft = await drafted(who, 'Version un du message.');
	await page.goto(`${web}/messagerie/brouillons/${draft}/recapitulatif`);
	const other = await context.newPage();
	await other.goto(`${web}/messagerie/brouillons/${draft}/message`);
	await other.fill('#text', 'Version un du message. Et une suite importante.');
	await other.waitForSelector('text=Brouillon enregistré.');
	await other.close();
	await page.click('text=Envoyer le message');
	await page.waitForURL('**/confirmation/**');
	await page.goto(`${web}/messagerie`);
	assert.match(await page.textContent('main'), /Et une suite importante/);
	// Sent, it is a message of its own.
	await page.click('text=Reprendre');
	await page.click('text=Envoyer le message');
	await page.waitForURL('**/recapitulatif');
	assert.match(await page.textContent('#done'), /c’est un nouveau message/);
	await page.click('text=Envoyer le message');
	await page.waitForURL('**/confirmation/**');
	const list = (await api(who, 'GET', '/v1/conversations')).conversations;
	assert.deepEqual(list.map(({ excerpt }) => excerpt).sort(), ['Version un du message.', 'Version un du message. Et une suite importante.']);
	assert.equal((await api(who, 'GET', '/v1/drafts')).drafts?.length ?? 0, 0);
	// A further message.
	const at = `${web}/messagerie/conversations/${list[0].id}`;
	await page.goto(at);
	const second = await context.newPage();
	await second.goto(at);
	await second.fill('#text', 'Ce qui est écrit dans le second onglet.');
	await second.waitForSelector('text=Brouillon enregistré.');
	await second.close();
	await page.fill('#text', 'Ce qui part du premier.');
	await press(page, sendButton);
	assert.match(await page.textContent('#thread'), /Ce qui part du premier\./);
	assert.equal(await page.inputValue('#text'), 'Ce qui est écrit dans le second onglet.');
});

test('the same words again are a message of their own', async () => {
	const who = 'particulier-4732', { page } = await person(browser, who);
	const at = `${web}/messagerie/conversations/${await written(who)}`;
	await page.goto(at);
	await page.fill('#text', 'Un message pour un conseiller.'); // as the first one says
	await page.waitForSelector('text=Brouillon enregistré.');
	await page.goto(at);
	assert.equal(await page.inputValue('#text'), 'Un message pour un conseiller.');
});

for (const javaScriptEnabled of [true, false]) {
	test(`whichever way one signs in again, JavaScript ${javaScriptEnabled ? 'on' : 'off'}`, async () => {
		const who = `particulier-${javaScriptEnabled ? 4733 : 4734}`;
		const ways = {
			'by the browser’s Back': async (page) => { await page.goBack(); await page.click('main a.button'); },
			'by the site’s own address': async (page) => { await page.goto(web); await page.click('main a.button'); },
		};
		for (const [way, leads] of Object.entries(ways)) {
			const { page, context } = await person(browser, who, { javaScriptEnabled });
			await page.goto(`${web}/messagerie/conversations/${await written(who)}`);
			const text = `Écrit avant la fin ${crypto.randomUUID()}`;
			await page.fill('#text', text);
			await context.clearCookies({ name: /session/ });
			await press(page, sendButton);
			assert.match(page.url(), /\/connexion/, way);
			await leads(page);
			await signInAs(page, who);
			assert.equal(await page.inputValue('#text'), text, way);
			// Who looks elsewhere first finds the way back on every page.
			await page.goto(`${web}/aide`);
			await press(page, '#waiting a');
			assert.equal(await page.inputValue('#text'), text, way);
			await press(page, 'main form[action="/repris"] button'); // it is not to be sent
			await page.goto(`${web}/aide`);
			assert.equal(await page.locator('#waiting').count(), 0);
			await context.close();
		}
	});

	test(`two tabs meet the end of the session, JavaScript ${javaScriptEnabled ? 'on' : 'off'}`, async () => {
		const who = `particulier-${javaScriptEnabled ? 4735 : 4736}`, { page, context } = await person(browser, who, { javaScriptEnabled });
		const other = await context.newPage(), first = `Du premier onglet ${crypto.randomUUID()}`, second = `Du second onglet ${crypto.randomUUID()}`;
		await page.goto(`${web}/messagerie/conversations/${await written(who)}`);
		await other.goto(`${web}/messagerie/conversations/${await written(who)}`);
		await page.fill('#text', first);
		await other.fill('#text', second);
		await context.clearCookies({ name: /session/ });
		await press(page, sendButton);
		await press(other, sendButton);
		// The second stays on its page, which leads to the sign-in in another tab.
		assert.equal(await other.inputValue('#text'), second);
		await page.click('main a.button');
		await signInAs(page, who);
		assert.equal(await page.inputValue('#text'), first);
		await press(page, 'main form[data-once] button.button');
		assert.match(await page.textContent('#thread'), new RegExp(first));
		await press(other, 'main form[data-once] button.button');
		assert.match(await other.textContent('#thread'), new RegExp(second));
	});
}

test('without a script, what a closed conversation did not take is kept', async () => {
	const who = 'particulier-4737', { page } = await person(browser, who, { javaScriptEnabled: false });
	const id = await written(who);
	await page.goto(`${web}/messagerie/conversations/${id}`);
	await page.fill('#text', 'Écrit pendant que l’on ferme.');
	const { conversation } = await api('conseiller-armorique-900', 'GET', `/v1/agent/conversations/${id}`);
	await api('conseiller-armorique-900', 'POST', `/v1/agent/conversations/${id}:close`, { lastMessageId: conversation.lastMessageId, text: 'Votre demande est réglée.' });
	await press(page, sendButton);
	assert.equal(await page.inputValue('#text'), 'Écrit pendant que l’on ferme.');
	await press(page, 'footer button[name=vers]');
	await page.goto(`${web}/messagerie/conversations/${id}`);
	assert.equal(await page.inputValue('#text'), 'Écrit pendant que l’on ferme.');
});

for (const javaScriptEnabled of [true, false]) {
	test(`an agent’s other text, JavaScript ${javaScriptEnabled ? 'on' : 'off'}`, async () => {
		const { page } = await person(browser, 'claire', { javaScriptEnabled });
		await page.goto(`${web}/agent/conversations/${await written('particulier-4738')}`);
		await page.uncheck('#final');
		await page.fill('#text', 'Une réponse partielle.');
		await page.fill('#note', 'Une note.');
		await press(page, 'button[formaction$="/noter"]');
		assert.equal(await page.inputValue('#text'), 'Une réponse partielle.');
		assert.equal(await page.isChecked('#final'), false, 'the reply is final again');
	});
}
