// The guide's seven steps in a stock Firefox, driven by WebDriver BiDi: with JavaScript, where
// the reply arrives by itself, and without.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { driver, inbox, keyboard, launch, press, reply, signIn, until, web } from './people.mjs';

const go = 'main form[data-once] button.button';
const codes = ['famille-logement', 'allocations-familiales', 'paiement-absent'];

const plain = (text) => text.replace(/[\s\u00a0\u202f]+/g, ' ');

for (const script of [true, false]) {
	test(`Firefox, JavaScript ${script ? 'on' : 'off'}`, async () => {
		const [browser, theirs] = await Promise.all([launch('firefox', { prefs: { 'javascript.enabled': script } }), launch('firefox')]);
		const hands = script ? keyboard : driver;
		const follow = (selector) => press(page, selector, hands);
		// Its first page has no focus, and takes no keys.
		const page = await browser.newPage();
		try {
			const faults = [];
			page.on('console', (message) => { if (message.type() === 'error' && page.url().startsWith(web)) faults.push(message.text()); });
			page.on('pageerror', (error) => faults.push(String(error)));
			await tellBreaches(page);
			const title = async (wanted) => assert.equal(plain(await page.title()), `${wanted} – Ma messagerie`);
			const says = async (wanted) => {
				const main = plain(await page.$eval('main', (el) => el.textContent));
				assert.match(main, wanted);
				return main;
			};
			await signIn(page, 'jeanne', hands);
			// Access.
			await title('Mon espace privé');
			await follow('main a[href="/messagerie"]');
			// 1: home.
			await title('Accueil');
			await follow('main a[href="/messagerie/nouveau"]');
			// 2: selection; without an answer it is asked again.
			await title('Quel est le thème de votre message ?');
			await follow(go);
			await title('Erreur : Quel est le thème de votre message ?');
			await says(/Choisissez un thème/);
			if (script) assert.equal(await page.evaluate(() => document.activeElement.id), 'faults');
			for (const [level, code] of codes.entries()) {
				if (level > 0) await title(['', 'Quel est le sujet ?', 'Quel est le motif ?'][level]);
				await hands.choose(page, `input[value="${code}"]`);
				await follow(go);
			}
			// 3: online service.
			await title('Un service en ligne peut vous répondre plus vite – Écrivez votre message');
			if (script) {
				assert.ok(await page.$eval('#proposal', (window) => window.matches(':modal')));
				await page.keyboard.press('Escape');
				await page.waitForFunction(() => document.activeElement.id === 'text');
			} else await follow('#proposal button[value=ecrire]');
			await title('Écrivez votre message');
			// 4: writing.
			await hands.type(page, '#text', 'neuf cara');
			if (script) await page.waitForFunction(() => /Encore 1 caractère au moins/.test(document.getElementById('count').textContent));
			await follow(go);
			await title('Erreur : Écrivez votre message');
			await says(/au moins 10 caractères\. Votre texte en compte 9/);
			const text = `neuf caractères et plus ${crypto.randomUUID()}`;
			await page.$eval('#text', (area) => { area.value = ''; });
			await hands.type(page, '#text', text);
			await follow(go);
			// 5: recap, then confirmation.
			await title('Vérifiez votre message');
			assert.ok((await says(/Thème/)).includes(text));
			await follow(go);
			await title('Message envoyé');
			const [, reference] = (await says(/Votre message est envoyé/)).match(/Référence ?(MSA-[0-9A-Z]{8})/);
			await says(/Un accusé de réception part à \S+@\S+, et un SMS/);
			// 6: the acknowledgement.
			const mails = async () => (await (await fetch(`${inbox}/api/messages`)).json()).messages
				.filter((mail) => mail.channel === 'EMAIL' && `${mail.subject} ${mail.text}`.includes(reference));
			await until('the acknowledgement', async () => (await mails()).length === 1);
			// 7: an agent replies.
			await follow('main a[href^="/messagerie/conversations/"]');
			await title(`Conversation ${reference}`);
			await says(/Réponse attendue avant le/);
			const answer = `Votre dossier est complet (${crypto.randomUUID()}).`;
			await reply(theirs, page.url().split('/').pop(), answer);
			if (script) await until('the reply comes by itself', () => page.evaluate(() => !document.getElementById('news').hidden));
			else await page.reload();
			assert.ok((await says(/dossier est complet/)).includes(answer));
			await until('the mail about the reply', async () => (await mails()).length === 2);
			assert.deepEqual(faults, []);
		} finally {
			await Promise.all([browser.close(), theirs.close()]);
		}
	});
}

// A breach of the content security policy is told as one of the console's errors.
const tellBreaches = (page) => page.evaluateOnNewDocument(() => document.addEventListener('securitypolicyviolation', (event) => console.error(`policy: ${event.violatedDirective}`)));

// The test above could not fail by what Firefox does not tell it.
test('Firefox tells of a breach of the policy', async () => {
	const browser = await launch('firefox');
	try {
		const [page] = await browser.pages();
		await tellBreaches(page);
		await page.goto(`${web}/connexion`);
		const told = new Promise((resolve) => { page.on('console', (message) => resolve(message.text())); });
		await page.evaluate(() => document.head.append(Object.assign(document.createElement('style'), { textContent: 'body { color: red }' })));
		assert.match(await told, /^policy: style-src/);
	} finally {
		await browser.close();
	}
});
