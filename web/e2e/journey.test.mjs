// The guide's seven steps, as each audience goes through them, with JavaScript and
// without.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { choose, launch, mails, person, question, web, withService, write } from './browser.mjs';

let browser;
before(async () => { browser = await launch(); });
after(async () => { await browser.close(); });

for (const [persona, audience, codes] of [['jeanne', 'Particulier', withService], ['paul', 'Exploitant', []], ['tilleuls', 'Employeur', []]]) {
	for (const javaScriptEnabled of [true, false]) {
		test(`${audience}, JavaScript ${javaScriptEnabled ? 'on' : 'off'}`, async () => {
			const text = `Bonjour,\n\nje vous écris au sujet de mon dossier ${crypto.randomUUID()}.`;
			const { page, faults } = await person(browser, persona, { javaScriptEnabled });
			// Access: from the private space, by both ways of the guide.
			assert.match(page.url(), /\/espace$/);
			assert.ok(await page.isVisible(`text=${audience}`));
			await page.click('a:has-text("Contact & échanges")');
			await page.click('a:has-text("Mes messages")');
			await page.click('a:has-text("Accéder à la messagerie")');
			// 1: home.
			assert.equal(await page.textContent('h1'), 'Ma messagerie');
			await page.click('text=Rédiger un nouveau message');
			// 2: selection. Nothing is chosen before, and no fault is told before an answer.
			assert.equal(await page.locator('input:checked').count(), 0);
			assert.equal(await page.locator('#faults').count(), 0);
			await page.click('main form button.button >> nth=0');
			assert.match(await page.title(), /^Erreur/);
			if (javaScriptEnabled) assert.equal(await page.evaluate(() => document.activeElement.id), 'faults');
			for (let level = 0; !(await page.isVisible('#text')); level += 1) {
				if (level > 0) assert.equal(await page.locator('#faults').count(), 0, 'a fault on first view');
				await question(page, codes[level]);
			}
			// 3: online service.
			if (persona === 'jeanne') {
				assert.ok(await page.isVisible('#proposal'), 'the online service is proposed');
				assert.equal(await page.evaluate(() => document.querySelector('#proposal').matches(':modal')).catch(() => false), javaScriptEnabled);
			}
			// 4: writing.
			if (await page.isVisible('#proposal')) await page.click('#proposal button[value=ecrire]');
			await page.fill('#text', 'neuf cara');
			if (javaScriptEnabled) assert.match(await page.textContent('#count'), /Encore 1 caractère au moins/);
			await page.click('main form button.button');
			assert.match(await page.textContent('#faults'), /au moins 10 caractères. Votre texte en compte 9/);
			assert.equal(await page.inputValue('#text'), 'neuf cara');
			await page.fill('#text', text);
			await page.click('main form button.button');
			// 5: recap; each line can be changed, and leads back to it.
			assert.match(await page.textContent('h1'), /Vérifiez votre message/);
			assert.ok((await page.textContent('.recap')).includes(text.split('\n')[2]));
			await page.click('.recap a >> nth=0');
			await page.click('main form button.button >> nth=0');
			for (let i = 0; i < 4 && !page.url().includes('/recapitulatif'); i += 1) {
				if (await page.isVisible('#proposal')) await page.click('#proposal button[value=ecrire]');
				await page.click('main form button.button');
			}
			await page.click('text=Envoyer le message');
			await page.waitForURL('**/confirmation/**');
			const reference = (await page.textContent('.panel strong')).trim();
			assert.match(await page.textContent('main'), /Un accusé de réception part à \S…\S?@\S+, et un SMS de confirmation au 0\d\s\.\.\s\.\.\s\.\.\s\d\d\./);
			assert.match(reference, /^MSA-[0-9A-Z]{8}$/);
			// 6: the acknowledgement and the SMS.
			const first = await mails(reference, 2);
			assert.deepEqual(first.map((m) => m.channel).sort(), ['EMAIL', 'SMS']);
			assert.ok(!first.some((m) => `${m.text} ${m.html}`.includes(text.split('\n')[2])), 'a mail has the text');
			// 7: an agent replies.
			await page.click('text=Voir la conversation');
			const conversation = page.url();
			assert.match(await page.textContent('#expected'), /^Réponse attendue avant le /);
			const claire = await person(browser, 'claire', { javaScriptEnabled });
			await claire.page.goto(`${web}/agent/conversations/${conversation.split('/').pop()}`);
			await claire.page.click('text=Prendre en charge');
			const answer = `Votre dossier est complet (${crypto.randomUUID()}).`;
			await claire.page.fill('#text', answer);
			await claire.page.click('button[value=apercu]');
			assert.ok((await claire.page.textContent('.preview')).includes(answer));
			await claire.page.click('button[value=envoyer]');
			await claire.page.waitForSelector('text=La réponse est envoyée');
			if (!javaScriptEnabled) await page.reload();
			// With JavaScript the reply comes by itself.
			await page.waitForSelector(`.said:has-text("${answer}")`);
			assert.equal(await page.textContent('#expected'), '');
			const all = await mails(reference, 3);
			assert.deepEqual(all.map((m) => m.channel).sort(), ['EMAIL', 'EMAIL', 'SMS']);
			assert.deepEqual([...faults, ...claire.faults], []);
		});
	}
}

test('the three ways out of the window', async () => {
	const { page, faults } = await person(browser, 'jeanne');
	await choose(page, withService);
	await page.keyboard.press('Escape');
	assert.ok(!(await page.isVisible('#proposal')));
	await page.waitForFunction(() => document.activeElement.id === 'text');
	await choose(page, withService);
	for (const [level, step] of ['theme', 'sujet', 'motif'].entries()) {
		await page.click(`#proposal button[value=${step}]`);
		assert.ok(page.url().endsWith(`/${step}`));
		assert.ok(await page.isChecked(`input[value="${withService[level]}"]`));
		await choose(page, withService);
	}
	// The service is elsewhere: that we are led there is enough.
	const left = page.waitForRequest((request) => !request.url().startsWith(web));
	await page.route((url) => !String(url).startsWith(web), (route) => route.fulfill({ body: 'elsewhere' }));
	await page.click('#proposal a.button');
	assert.match((await left).url(), /^https:/);
	assert.deepEqual(faults, []);
});

// Found with a screen reader, which `make test-heard` starts.
test('what is spoken: the fault with its first choice, the window from its title, no description that changes', async () => {
	const { page } = await person(browser, 'jeanne');
	const described = () => page.evaluate(() => document.activeElement.getAttribute('aria-describedby').split(' ').map((id) => document.getElementById(id).textContent).join(' '));
	await page.goto(`${web}/messagerie/nouveau`);
	await page.click('main form button.button >> nth=0');
	await page.click('#faults a');
	assert.match(await described(), /^Erreur\s: Choisissez un thème\./);
	await choose(page, withService);
	assert.equal(await page.evaluate(() => document.activeElement.textContent), await page.textContent('#proposal h2'));
	await page.keyboard.press('Escape');
	await page.waitForFunction(() => document.activeElement.id === 'text');
	const before = await described();
	await page.fill('#text', 'neuf cara');
	assert.match(await page.textContent('#count'), /Encore 1 caractère/);
	assert.equal(await described(), before);
	// A live region that appears with what it says is not spoken.
	await page.goto(`${web}/messagerie`);
	for (const news of ['#news', '#offline']) assert.ok(await page.evaluate((id) => document.querySelector(id).parentElement.matches('[aria-live=polite]:not([hidden])'), news));
});

test('the window does not come back', async () => {
	const { page, faults } = await person(browser, 'jeanne');
	await choose(page, withService);
	assert.ok(await page.isVisible('#proposal'));
	await page.click('#proposal button[value=ecrire]');
	await page.waitForSelector('#text');
	const back = async () => { await page.goto(page.url().replace(/message$/, 'theme')); await page.goBack(); };
	for (const again of [() => page.reload(), back, () => page.click('footer button')]) {
		await again();
		await page.waitForSelector('#text');
		assert.equal(await page.locator('#proposal').count(), 0, `the window is there again: ${again}`);
	}
	assert.deepEqual(faults, []);
});

test('a profile is chosen by who has two', async () => {
	const { page } = await person(browser, 'marc');
	await page.goto(`${web}/messagerie`);
	assert.match(page.url(), /\/profil/);
	await page.check('input[value=EXPLOITANT]');
	await page.click('main button');
	assert.match(page.url(), /\/messagerie$/);
	assert.ok(await page.isVisible('text=Marc Dubois · Exploitant'));
});

test('search by words', async () => {
	const { page } = await person(browser, 'jeanne');
	await page.goto(`${web}/messagerie/nouveau`);
	await page.fill('#q', 'paiement');
	await page.click('text=Chercher');
	assert.ok(await page.locator('button[name=choix]').count() > 0);
	await page.click('button[name=choix] >> nth=0');
	assert.ok(await page.isVisible('#text'));
	// Results come while one types, with why, and the field stays.
	await page.goto(`${web}/messagerie/nouveau`);
	await page.locator('#q').pressSequentially('rib', { delay: 20 });
	await page.waitForSelector('#found button[name=choix]');
	assert.match(await page.textContent('#found-said'), /motifs? trouvés?/);
	assert.match(await page.textContent('#found'), /Trouvé pour/);
	assert.equal(await page.inputValue('#q'), 'rib');
	// Words are in no address and no title.
	await page.click('text=Chercher');
	await page.waitForURL('**/recherche?r=*');
	assert.doesNotMatch(page.url() + await page.title(), /rib\b/);
	assert.equal(await page.inputValue('#q'), 'rib');
	// One comes back to what was found.
	await page.click('button[name=choix] >> nth=0');
	await page.waitForSelector('#text');
	await page.goBack();
	assert.equal(await page.inputValue('#q'), 'rib');
	await page.fill('#q', 'zzzz');
	await page.click('text=Chercher');
	await page.waitForSelector('text=Aucun motif ne correspond tout à fait');
	assert.ok(await page.isVisible('text=Autre : choisir par thème'));
});

test('a draft survives a closed tab; offline it says so and saves later', async () => {
	const { page, context } = await person(browser, 'jeanne');
	await choose(page, withService);
	await page.keyboard.press('Escape');
	const draft = page.url().split('/').at(-2);
	await context.setOffline(true);
	const text = `Un brouillon commencé ${crypto.randomUUID()}`;
	await page.fill('#text', text);
	await page.waitForSelector('text=Vous êtes hors connexion');
	await page.waitForSelector('text=Le brouillon n’est pas enregistré');
	await context.setOffline(false);
	await page.waitForSelector('text=Brouillon enregistré.');
	await page.close();
	const again = await context.newPage();
	await again.goto(`${web}/messagerie`);
	// Other tests write as jeanne at the same time: this draft is meant, not the newest.
	await again.click(`a[href*="${draft}"]:has-text("Reprendre")`);
	assert.ok((await again.textContent('main')).includes(text));
	assert.equal(await again.evaluate(() => localStorage.length + sessionStorage.length), 0);
	await write(await (async () => { await again.click('a:has-text("Modifier") >> nth=-1'); return again; })(), text);
});

for (const step of ['message', 'recapitulatif']) {
	test(`the session ends on the page ${step}: after signing in again, what was typed is there`, async () => {
		const { page, context, faults } = await person(browser, 'jeanne');
		let text = `Une session qui se termine ${crypto.randomUUID()}`;
		await choose(page, withService);
		await page.click('#proposal button[value=ecrire]');
		await page.fill('#text', text);
		await page.waitForSelector('text=Brouillon enregistré.');
		if (step === 'recapitulatif') {
			await page.click('main form button.button');
			await page.waitForURL('**/recapitulatif');
		}
		await context.clearCookies({ name: /session/ });
		if (step === 'message') {
			text += ' Cette phrase n’est dans aucun brouillon.';
			await page.fill('#text', text);
		}
		await page.click('main form button.button');
		assert.match(await page.textContent('main'), /Connectez-vous pour retrouver ce que vous avez écrit/);
		await page.click('main a.button');
		await page.click('button:has-text("jeanne")');
		await page.waitForURL('**/repris');
		assert.equal(await page.inputValue('#text'), text);
		await page.click('main form button.button');
		if (step === 'message') {
			await page.waitForURL('**/recapitulatif');
			assert.ok((await page.textContent('.recap')).includes(text));
		} else await page.waitForURL('**/confirmation/*');
		assert.deepEqual(faults, []);
	});
}

test('hide and show a conversation', async () => {
	const { page } = await person(browser, 'tilleuls', { javaScriptEnabled: false });
	await choose(page);
	await write(page, 'Une conversation à masquer.');
	await page.click('text=Envoyer le message');
	await page.click('text=Voir la conversation');
	const path = new URL(page.url()).pathname;
	await page.click('text=Masquer cette conversation');
	assert.equal(await page.locator(`.item a[href="${path}"]`).count(), 0);
	await page.click('a:has-text("Afficher les conversations masquées")');
	await page.click(`.item:has(a[href="${path}"]) button`);
	// It is gone from the list that one stays on, and back in the other.
	assert.equal(new URL(page.url()).search, '?masquees=1');
	assert.equal(await page.locator(`.item a[href="${path}"]`).count(), 0);
	await page.goto(`${web}/messagerie`);
	assert.equal(await page.locator(`.item a[href="${path}"]`).count(), 1);
});
