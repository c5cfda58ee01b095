// One message, whatever is clicked; and nothing of anybody else's.
import assert from 'node:assert/strict';
import { request } from 'node:http';
import { after, before, test } from 'node:test';
import { choose, launch, listed, person, send, web, withService, write } from './browser.mjs';

let browser;
before(async () => { browser = await launch(); });
after(async () => { await browser.close(); });

for (const javaScriptEnabled of [true, false]) {
	test(`double click, JavaScript ${javaScriptEnabled ? 'on' : 'off'}`, async () => {
		const { page } = await person(browser, 'jeanne', { javaScriptEnabled });
		const text = `Un double clic ${crypto.randomUUID()}`;
		await choose(page, withService);
		await write(page, text);
		let left = 0;
		page.on('request', (sent) => { if (sent.url().endsWith('/envoyer')) left += 1; });
		const at = await page.locator('text=Envoyer le message').boundingBox();
		// So far apart that the browser does not make one of them by itself.
		await page.mouse.click(at.x + 20, at.y + 20);
		await new Promise((resolve) => setTimeout(resolve, 10));
		await page.mouse.click(at.x + 20, at.y + 20);
		// Without the script the second click breaks off what the first has begun, which
		// waitForURL takes for a failure: only where one arrives counts.
		await page.locator('.panel strong').waitFor();
		assert.match(page.url(), /\/confirmation\//);
		if (javaScriptEnabled) assert.equal(left, 1, 'the script lets one click through');
		assert.equal(await listed(page, text), 1);
	});
}

// How many requests two clicks make is the browser's affair. Here they are five.
test('one form sent five times at once', async () => {
	const { page, context } = await person(browser, 'jeanne');
	const text = `Cinq fois le même ${crypto.randomUUID()}`;
	await choose(page, withService);
	await write(page, text);
	const [action, form] = await page.locator('form[action$="/envoyer"]').evaluate((f) => [f.action, Object.fromEntries(new FormData(f))]);
	const answers = await Promise.all(Array.from({ length: 5 }, () => context.request.post(action, { form, maxRedirects: 0 })));
	assert.deepEqual(answers.map((a) => a.status()), [303, 303, 303, 303, 303]);
	assert.equal(new Set(answers.map((a) => a.headers().location)).size, 1);
	assert.match(answers[0].headers().location, /\/confirmation\//);
	assert.equal(await listed(page, text), 1);
});

test('back, then send', async () => {
	const { page } = await person(browser, 'jeanne');
	const text = `Retour puis envoi ${crypto.randomUUID()}`;
	const sent = await send(page, text);
	await page.goBack();
	if (await page.isVisible('text=Envoyer le message')) {
		await page.click('text=Envoyer le message');
		await page.waitForURL('**/confirmation/**');
		assert.ok(page.url().endsWith(sent.id));
	} else {
		assert.match(await page.textContent('main'), /Le message a été envoyé/);
	}
	assert.equal(await listed(page, text), 1);
});

test('two tabs of one draft', async () => {
	const { page, context } = await person(browser, 'jeanne');
	const text = `Deux onglets ${crypto.randomUUID()}`;
	await choose(page, withService);
	await write(page, text);
	const other = await context.newPage();
	await other.goto(page.url());
	await Promise.all([page.click('text=Envoyer le message'), other.click('text=Envoyer le message')]);
	await Promise.all([page.waitForURL('**/confirmation/**'), other.waitForURL('**/confirmation/**')]);
	assert.equal(page.url(), other.url());
	assert.equal(await listed(page, text), 1);
});

test('other text from a draft that was sent', async () => {
	const { page, context } = await person(browser, 'jeanne');
	const text = `Premier texte ${crypto.randomUUID()}`;
	await choose(page, withService);
	await write(page, text);
	const other = await context.newPage();
	await other.goto(page.url());
	await page.click('text=Envoyer le message');
	await page.waitForURL('**/confirmation/**');
	await other.evaluate(() => { document.querySelector('input[name=texte]').value = 'Un tout autre texte.'; });
	await other.click('text=Envoyer le message');
	assert.match(await other.locator('#done').textContent(), /déjà parti de ce brouillon/);
	assert.equal(await other.locator('.recap .said').textContent(), 'Un tout autre texte.');
});

test('750 characters with line breaks, emoji and combining marks, sent and counted alike', async () => {
	const { page, faults } = await person(browser, 'jeanne');
	const mark = crypto.randomUUID();
	// NFD on purpose: é as two code points, one character once normalised.
	const unit = 'e\u0301🙂\n';
	const text = mark + unit.repeat(238); // 36 + 3 × 238 = 750
	await choose(page, withService);
	await page.keyboard.press('Escape');
	await page.fill('#text', text.slice(0, -1) + 'x');
	assert.match(await page.textContent('#count'), /Il vous reste 0 caractère\./);
	await page.fill('#text', text.slice(0, -1) + 'xy');
	assert.match(await page.textContent('#count'), /1 caractère de trop/);
	await page.click('form:has(#text) button.button');
	assert.match(await page.textContent('#faults'), /au plus 750 caractères. Votre texte en compte 751/);
	await page.fill('#text', text.slice(0, -1) + 'x');
	await page.click('form:has(#text) button.button');
	await page.waitForURL('**/recapitulatif');
	await page.click('text=Envoyer le message');
	await page.waitForURL('**/confirmation/**');
	await page.click('text=Voir la conversation');
	const shown = await page.locator('.said').first().textContent();
	assert.equal(shown, (text.slice(0, -1) + 'x').normalize('NFC'));
	assert.deepEqual(faults, []);
});

test('the script counts as the vectors say', async () => {
	const { readFileSync } = await import('node:fs');
	const vectors = JSON.parse(readFileSync(new URL('../../services/messaging/testdata/text.json', import.meta.url), 'utf8'));
	const { page } = await person(browser, 'jeanne');
	const module = await page.getAttribute('script[type=module]', 'src');
	let compared = 0;
	for (const v of vectors) {
		const wanted = v.chars ?? v.actual;
		if (wanted === undefined) {
			assert.match(v.reason, /^BODY_BLANK$/, `${v.name}: a vector without a count`);
			continue;
		}
		compared += 1;
		const text = (v.prefix ?? '') + v.text.repeat(v.repeat ?? 1) + (v.suffix ?? '');
		const got = await page.evaluate(async ([from, raw]) => { const { clean, count } = await import(from); return { count: count(raw), ...clean(raw) }; }, [module, text]);
		assert.equal(got.count, wanted, v.name);
		assert.equal(got.removed, v.removed ?? 0, v.name);
		if (v.normalised) assert.equal(got.text.normalize('NFC').trim(), v.normalised, v.name);
	}
	assert.ok(compared > 15, `${compared} vectors`);
	const rows = readFileSync(new URL('../../chassis/testenv/corpus/corpus.tsv', import.meta.url), 'utf8').split('\n').map((line) => line.split('\t')).filter(([kind, , , right]) => kind === 'text' && !right.startsWith('!'));
	assert.ok(rows.length > 80, `${rows.length} rows`);
	for (const [, source, value, right] of rows) {
		const got = await page.evaluate(async ([from, raw]) => { const { clean, count } = await import(from); return { count: count(raw), ...clean(raw) }; }, [module, JSON.parse(value)]);
		assert.equal(got.text.normalize('NFC').trim(), JSON.parse(right).trim(), `${source}: ${value}`);
		assert.equal(got.count, [...JSON.parse(right)].length, `${source}: ${value}`);
	}
});

test('another member’s conversation', async () => {
	const jeanne = await person(browser, 'jeanne');
	const sent = await send(jeanne.page, `Confidentiel ${crypto.randomUUID()}`);
	const paul = await person(browser, 'paul');
	for (const path of [`/messagerie/conversations/${sent.id}`, `/messagerie/conversations/${sent.id}/texte`, `/messagerie/confirmation/${sent.id}`]) {
		const answer = await paul.page.goto(web + path);
		assert.equal(answer.status(), 404, path);
		assert.match(await paul.page.textContent('main'), /n’est pas disponible/);
		assert.ok(!(await paul.page.content()).includes('Confidentiel'));
	}
});

test('a forged cookie, and none', async () => {
	const { page, context } = await person(browser, 'jeanne');
	const [real] = (await context.cookies()).filter((c) => c.name === '__Host-session');
	assert.ok(real.httpOnly && real.secure && real.sameSite === 'Lax');
	// One character is another: first of the nonce, in the middle, of the seal.
	const changed = (at) => real.value.slice(0, at) + (real.value[at] === 'A' ? 'B' : 'A') + real.value.slice(at + 1);
	// A cookie that was sealed here, for another purpose.
	await page.goto(`${web}/aide`);
	await page.request.get(`${web}/connexion/member`, { maxRedirects: 0 });
	const login = (await context.cookies()).find((c) => c.name === '__Host-login').value;
	for (const value of ['', 'A'.repeat(400), changed(0), changed(Math.floor(real.value.length / 2)), changed(real.value.length - 3), login]) {
		await context.clearCookies();
		if (value) await context.addCookies([{ ...real, value }]);
		await page.goto(`${web}/messagerie`);
		assert.match(page.url(), /\/connexion\?/, value);
		assert.equal(await page.textContent('h1'), 'Se connecter');
		assert.match(await page.textContent('main'), /Connectez-vous pour continuer/);
	}
	await context.clearCookies();
	await context.addCookies([real]);
	await page.goto(`${web}/messagerie`);
	assert.match(page.url(), /\/messagerie$/, 'the real one is good');
});

test('an agent’s page as a member, a member’s as an agent', async () => {
	const { page } = await person(browser, 'jeanne');
	for (const path of ['/agent', '/agent/statistiques', '/agent/modeles']) {
		assert.equal((await page.goto(web + path)).status(), 403);
		assert.match(await page.textContent('main'), /ne vous est pas destinée/);
	}
	const claire = await person(browser, 'claire');
	assert.equal((await claire.page.goto(`${web}/messagerie`)).status(), 403);
});

test('a POST from another site', async () => {
	const { context, page } = await person(browser, 'jeanne');
	const cookies = (await context.cookies()).map((c) => `${c.name}=${c.value}`).join('; ');
	for (const headers of [{ origin: 'https://example.org' }, { 'sec-fetch-site': 'cross-site', origin: 'null' }]) {
		const [status, body] = await new Promise((resolve, reject) => {
			const req = request(`${web}/preferences`, { method: 'POST', headers: { cookie: cookies, 'content-type': 'application/x-www-form-urlencoded', ...headers } }, (answer) => {
				let text = '';
				answer.on('data', (part) => { text += part; }).on('end', () => resolve([answer.statusCode, text]));
			});
			req.on('error', reject).end('langue=en');
		});
		assert.equal(status, 403);
		assert.match(body, /Demande refusée/);
	}
	await page.goto(`${web}/preferences`);
	assert.ok(await page.isChecked('#lf'));
});

test('two agents: who is late is told', async () => {
	const jeanne = await person(browser, 'jeanne');
	const sent = await send(jeanne.page, `Pour deux conseillers ${crypto.randomUUID()}`);
	const [claire, sofiane] = await Promise.all([person(browser, 'claire'), person(browser, 'sofiane')]);
	const path = `${web}/agent/conversations/${sent.id}`;
	await Promise.all([claire.page.goto(path), sofiane.page.goto(path)]);
	await claire.page.click('#claim');
	await claire.page.waitForSelector('text=Vous avez cette conversation en charge');
	await sofiane.page.fill('#text', 'Une réponse de trop.');
	await sofiane.page.click('button[value=envoyer]');
	assert.match(await sofiane.page.textContent('#faults'), /déjà prise en charge.*Claire Bernard/s);
	assert.equal(await sofiane.page.inputValue('#text'), 'Une réponse de trop.', 'what was typed is kept');
	await sofiane.page.fill('#text', '');
	await sofiane.page.waitForSelector('text=Brouillon enregistré.');
	await sofiane.page.goto(path);
	assert.equal(await sofiane.page.locator('#text').count(), 0, 'who may not answer, and has begun nothing, has no field');
});

test('personal data: export, and erasure only when meant', async () => {
	const { page } = await person(browser, 'tilleuls');
	await page.goto(`${web}/donnees-personnelles`);
	const [download] = await Promise.all([page.waitForEvent('download'), page.click('text=Télécharger mes données')]);
	const { readFileSync } = await import('node:fs');
	const pieces = JSON.parse(readFileSync(await download.path(), 'utf8'));
	assert.ok(pieces[0].preferences.accountEmail.endsWith('@example.org'));
	await page.click('text=Effacer mes données');
	assert.match(await page.textContent('#faults'), /Cochez la case/);
});
