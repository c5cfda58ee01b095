// Every page and state: accessibility, valid HTML, content security policy, width,
// weight. With SHOTS set to a folder, a picture of each.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { HtmlValidate } from 'html-validate';
import { away, choose, launch, limited, person, question, saveTemplate, send, web, withService, write } from './browser.mjs';

const axe = readFileSync(new URL('node_modules/axe-core/axe.min.js', import.meta.url), 'utf8');
const html = new HtmlValidate({
	extends: ['html-validate:recommended'],
	rules: { 'void-style': 'off', 'no-trailing-whitespace': 'off', 'long-title': 'off', 'no-inline-style': 'error', 'attribute-boolean-style': 'off', 'no-implicit-button-type': 'off' },
});

let browser;
// Conversations in states that take two people: by what has become of them.
const made = {};
before(async () => {
	browser = await launch();
	const [jeanne, claire] = await Promise.all([person(browser, 'jeanne'), person(browser, 'claire')]);
	for (const state of ['free', 'held', 'answered', 'closed']) {
		const sent = await send(jeanne.page, 'Bonjour, où en est mon dossier ?\n\nMerci 🙂');
		made[state] = sent.id;
		made.reference = sent.reference;
	}
	const open = (state) => claire.page.goto(`${web}/agent/conversations/${made[state]}`);
	await open('held');
	await claire.page.click('#claim');
	await open('answered');
	await claire.page.fill('#text', 'Votre dossier est complet.');
	await claire.page.click('button[value=envoyer]');
	await claire.page.waitForSelector('text=La réponse est envoyée');
	await open('closed');
	await unfold(claire.page);
	await claire.page.fill('#text', 'Votre demande a été traitée par téléphone.');
	await claire.page.click('text=Clore la conversation');
	await claire.page.waitForSelector('text=Rouvrir la conversation');
	await Promise.all([jeanne.context.close(), claire.context.close()]);
});
after(async () => { await browser.close(); });

const unfold = (page) => page.evaluate(() => document.querySelectorAll('details').forEach((d) => { d.open = true; }));
const says = async (page, text) => { const main = (await page.textContent('main')).replace(/[\u00a0\u202f]/g, ' '); assert.ok(main.includes(text), `${page.url()} says: ${main}`); };
const announce = (page) => page.evaluate(() => {
	for (const id of ['ending', 'offline']) document.getElementById(id).hidden = false;
	const news = document.getElementById('news'), link = document.createElement('a');
	link.href = location.pathname;
	link.textContent = news.dataset.link;
	news.hidden = false;
	news.replaceChildren(`${news.dataset.text} `, link);
});

// foreign is a form on another site, that a signed-in person is led to send.
async function foreign(page) {
	const evil = 'http://ailleurs.example/';
	await page.route(evil, (route) => route.fulfill({ contentType: 'text/html', body: `<form method="post" action="${web}/preferences"><input name="langue" value="en"><button>Cliquez</button></form>` }));
	await page.goto(evil);
	await page.click('button');
	await page.waitForURL(`${web}/**`);
	await says(page, 'Rien n’a été fait');
}

// A message is begun under one profile, and the other is chosen from its recap.
async function changeProfile(page) {
	await page.goto(`${web}/profil`);
	await page.check('input[value=PARTICULIER]');
	await page.click('main button');
	await choose(page, withService);
	await write(page, 'Bonjour, où en est mon dossier ?\nMerci.');
	await page.click('.recap a >> nth=0');
	await says(page, 'Votre message est conservé');
}

async function otherProfile(page) {
	await changeProfile(page);
	await page.check('input[value=EXPLOITANT]');
	await page.click('main button');
	await says(page, 'Ce message est celui d’un autre profil');
	await says(page, 'où en est mon dossier');
}

async function look(page, words) {
	await page.goto(`${web}/messagerie`);
	await page.fill('#q', words);
	await page.click('form[role=search] button');
	await page.waitForURL('**/messagerie?q=*');
}

// twoPages sends messages until the list goes on.
async function twoPages(page) {
	await page.goto(`${web}/messagerie`);
	for (let n = await page.locator('.item').count(); n < 22 && !(await page.locator('a[rel=next]').count()); n += 1) {
		await send(page, 'Bonjour, où en est mon dossier ? Merci.');
		await page.goto(`${web}/messagerie`);
	}
}

// The states of the pages: how to get to each, as whom.
const member = [
	['espace', async (page) => page.goto(`${web}/espace`)],
	['contact', async (page) => page.goto(`${web}/espace/contact`)],
	['mes-messages', async (page) => page.goto(`${web}/espace/messages`)],
	['accueil', async (page) => { await page.goto(`${web}/messagerie`); await says(page, 'Bonjour, où en est mon dossier ? Merci'); await says(page, 'Réponse attendue avant le'); }],
	['liste-trouvee', async (page) => { await look(page, made.reference.toLowerCase()); await says(page, 'Une conversation trouvée'); assert.equal(await page.inputValue('#q'), made.reference.toLowerCase()); }],
	['liste-aucune', async (page) => { await look(page, 'zzzz'); await says(page, 'Aucune conversation affichée ne correspond à « zzzz »'); }],
	['liste-suite', async (page) => {
		await twoPages(page);
		await page.goto(`${web}/messagerie`);
		const first = await page.locator('.item h3 a').first().getAttribute('href');
		await page.click('a[rel=next]');
		await page.click('a[rel=prev]');
		await page.locator('.item h3 a').first().waitFor();
		assert.equal(await page.locator('.item h3 a').first().getAttribute('href'), first);
		await page.click('a[rel=next]');
		await page.locator('a[rel=prev]').waitFor();
	}],
	['brouillons', async (page) => {
		await page.goto(`${web}/messagerie/conversations/${made.answered}`);
		const saved = page.waitForResponse('**/enregistrer'), text = `Encore une question à ce sujet, ${crypto.randomUUID()}.`;
		await page.fill('#text', text);
		await saved;
		await page.goto(`${web}/messagerie`);
		await says(page, 'Reprendre : suite de MSA-');
		await says(page, text);
	}],
	['masquees', async (page) => page.goto(`${web}/messagerie?masquees=1`)],
	['theme', async (page) => page.goto(`${web}/messagerie/nouveau`)],
	['theme-erreur', async (page) => { await page.goto(`${web}/messagerie/nouveau`); await page.click('main form button.button >> nth=0'); }],
	['sujet', async (page) => { await page.goto(`${web}/messagerie/nouveau`); await question(page, withService[0]); }],
	['motif', async (page) => { await page.goto(`${web}/messagerie/nouveau`); await question(page, withService[0]); await question(page, withService[1]); }],
	['proposition', async (page) => choose(page, withService)],
	['message', async (page) => { await choose(page, withService); await page.click('#proposal button[value=ecrire]'); }],
	['message-erreur', async (page) => { await choose(page, withService); await page.click('#proposal button[value=ecrire]'); await page.fill('#text', 'court'); await page.click('main form button.button'); }],
	['recapitulatif', async (page) => { await choose(page, withService); await write(page, 'Bonjour, où en est mon dossier ?\nMerci.'); }],
	['confirmation', async (page) => { await send(page, 'Bonjour, où en est mon dossier ? Merci.'); }],
	['conversation', async (page) => { await page.goto(`${web}/messagerie`); await page.click('.item:not(.unread) h3 a >> nth=0'); }],
	['conversation-erreur', async (page) => { await page.goto(`${web}/messagerie`); await page.click('.item:not(.unread) h3 a >> nth=0'); await page.fill('#text', 'x'); await page.click('main form button.button'); }],
	['conversation-repondue', async (page) => page.goto(`${web}/messagerie/conversations/${made.answered}`)],
	['conversation-close', async (page) => page.goto(`${web}/messagerie/conversations/${made.closed}`)],
	['recherche', async (page) => { await page.goto(`${web}/messagerie/nouveau`); await page.fill('#q', 'paiement'); await Promise.all([page.waitForURL('**/recherche?r=*'), page.click('form.search button')]); }],
	['recherche-erreur', async (page) => { await page.goto(`${web}/messagerie/nouveau`); await page.click('form.search button'); await says(page, 'Écrivez un mot ou une question'); assert.equal(await page.locator('#faults:focus').count(), 1); }],
	['recherche-vide', async (page) => { await page.goto(`${web}/messagerie/nouveau`); await page.fill('#q', 'zzzz'); await Promise.all([page.waitForURL('**/recherche?r=*'), page.click('form.search button')]); }],
	['preferences', async (page) => page.goto(`${web}/preferences`)],
	['preferences-erreur', async (page) => { await page.goto(`${web}/preferences`); await page.fill('#phone', '17'); await page.click('main form button.button'); }],
	['donnees', async (page) => page.goto(`${web}/donnees-personnelles`)],
	['donnees-erreur', async (page) => { await page.goto(`${web}/donnees-personnelles`); await page.click('text=Effacer mes données'); }],
	['aide', async (page) => page.goto(`${web}/aide`)],
	['accessibilite', async (page) => page.goto(`${web}/accessibilite`)],
	['mentions', async (page) => page.goto(`${web}/mentions-legales`)],
	['introuvable', async (page) => page.goto(`${web}/messagerie/conversations/00000000-0000-7000-8000-000000000000`)],
	['refus', async (page) => page.goto(`${web}/agent`)],
	['brouillon-parti', async (page) => page.goto(`${web}/messagerie/brouillons/${crypto.randomUUID()}/message`)],
	['indisponible', async (page) => { await page.goto(`${away}/messagerie`); await says(page, 'momentanément indisponible'); }],
	['trop-d-appels', async (page) => { await page.goto(`${limited}/messagerie`); await says(page, 'Trop de demandes'); }],
	// What is announced: no network, the end of the session, news.
	['annonces', async (page) => { await page.goto(`${web}/messagerie`); await announce(page); }],
	['annonces-conversation', async (page) => { await page.goto(`${web}/messagerie/conversations/${made.answered}`); await announce(page); }],
	['etranger-erreur', foreign],
];
const agent = [
	['file', async (page) => page.goto(`${web}/agent`)],
	['file-annonces', async (page) => { await page.goto(`${web}/agent`); await announce(page); }],
	['agent-indisponible', async (page) => { await page.goto(`${away}/agent`); await says(page, 'momentanément indisponible'); }],
	['agent-libre', async (page) => page.goto(`${web}/agent/conversations/${made.free}`)],
	['agent-prise', async (page) => {
		await page.goto(`${web}/agent/conversations/${made.free}`);
		if (await page.isVisible('#claim')) await page.click('#claim');
		await says(page, 'Vous avez cette conversation en charge');
		await unfold(page);
	}],
	['agent-apercu', async (page) => {
		await page.goto(`${web}/agent/conversations/${made.free}`);
		await page.fill('#text', 'Votre dossier est complet.');
		await page.click('button[value=apercu]');
		await says(page, 'Aperçu : ce que verra l’adhérent');
	}],
	['agent-note-erreur', async (page) => { await page.goto(`${web}/agent/conversations/${made.free}`); await page.fill('#note', ''); await page.click('text=Ajouter la note'); }],
	['agent-tenue', async (page) => page.goto(`${web}/agent/conversations/${made.held}`)],
	// A tab from before claire took it.
	['agent-tenue-erreur', async (page) => {
		await page.goto(`${web}/agent/conversations/${made.free}`);
		await page.evaluate((action) => { document.querySelector('form:has(#text)').action = action; }, `/agent/conversations/${made.held}/repondre`);
		await page.fill('#text', 'Une réponse de trop.');
		await page.click('button[value=envoyer]');
		await says(page, 'Claire Bernard');
	}],
	// A tab from before somebody has written.
	['agent-entretemps', async (page) => {
		await page.goto(`${web}/agent/conversations/${made.free}`);
		await page.evaluate((id) => { document.querySelector('form:has(#text) [name=dernier]').value = id; }, crypto.randomUUID());
		await page.fill('#text', 'Votre dossier est complet.');
		await page.click('button[value=envoyer]');
		await says(page, 'a écrit depuis');
	}],
	['agent-clore-erreur', async (page) => {
		await page.goto(`${web}/agent/conversations/${made.free}`);
		await unfold(page);
		await page.fill('#text', '');
		await page.click('text=Clore la conversation');
		await says(page, 'écrivez une phrase');
	}],
	['agent-reprendre', async (page) => { await page.goto(`${web}/agent/conversations/${made.held}`); await unfold(page); await says(page, 'Reprendre à Claire Bernard'); }],
	['agent-repondue', async (page) => page.goto(`${web}/agent/conversations/${made.answered}`)],
	['agent-close', async (page) => page.goto(`${web}/agent/conversations/${made.closed}`)],
	['agent-refus', async (page) => page.goto(`${web}/messagerie`)],
	['file-vide', async (page) => page.goto(`${web}/agent?etat=closes&theme=none`)],
	['file-filtres', async (page) => { await page.goto(`${web}/agent?theme=${withService[0]}&mains=personne`); await unfold(page); }],
	['file-toutes', async (page) => page.goto(`${web}/agent?etat=toutes&ordre=modifiees`)],
	['agent-recherche', async (page) => page.goto(`${web}/agent/recherche`)],
	['agent-recherche-trouvee', async (page) => { await find(page, made.reference); await says(page, made.reference); }],
	['agent-recherche-aucune', async (page) => { await find(page, '0 00 00 00 000 000 00'); await says(page, 'Aucune conversation.'); }],
	['agent-recherche-erreur', async (page) => { await find(page, 'MSA-2222222A'); await says(page, 'Cette référence n’existe pas'); }],
	['agent-recherche-autres', async (page) => {
		await page.goto(`${web}/agent/conversations/${made.free}`);
		await page.click('text=Autres conversations de cette personne');
		await page.waitForURL('**/agent/recherche?r=*');
		assert.ok(await page.locator('.queue .item').count() > 0);
	}],
	['audit', async (page) => { await page.goto(`${web}/agent/audit`); await says(page, 'a lu la conversation'); }],
	['audit-conversation', async (page) => { await page.goto(`${web}/agent/conversations/${made.held}`); await page.click('text=Qui a lu cette conversation'); await says(page, 'a pris en charge'); }],
	['audit-erreur', async (page) => { await page.goto(`${web}/agent/audit`); await page.fill('#conversation', 'rien'); await page.click('main form button.button'); await says(page, 'Aucune conversation n’a cette référence'); }],
	['agent-conversation', async (page) => { await page.goto(`${web}/agent`); await page.click('.queue h2 a >> nth=0'); await unfold(page); }],
	['agent-motifs', async (page) => { await page.goto(`${web}/agent/conversations/${made.free}/motifs`); await says(page, 'Classée sous'); }],
	['agent-motifs-trouves', async (page) => {
		await page.goto(`${web}/agent/conversations/${made.free}/motifs`);
		await page.fill('#q', 'rib');
		await page.waitForSelector('#found button');
		assert.equal(await page.inputValue('#q'), 'rib');
		await page.press('#q', 'Enter');
		await page.waitForURL('**/motifs?r=*');
		await says(page, 'Trouvé pour');
	}],
	['agent-motifs-erreur', async (page) => { await page.goto(`${web}/agent/conversations/${made.free}/motifs`); await page.fill('#q', ' '); await page.press('#q', 'Enter'); await says(page, 'Écrivez un mot ou une question'); }],
	['agent-erreur', async (page) => { await page.goto(`${web}/agent`); await page.click('.queue h2 a >> nth=0'); await page.fill('#text', ' '); await page.click('button[value=envoyer]'); }],
	['statistiques', async (page) => { await page.goto(`${web}/agent/statistiques`); await unfold(page); }],
	['modeles', async (page) => page.goto(`${web}/agent/modeles`)],
	['modele-modifier', async (page) => { await saveTemplate(page, 'Dossier complet', 'Votre dossier est complet.'); await page.click('text=Modifier >> nth=0'); await says(page, 'Supprimer ce modèle'); }],
	['modeles-erreur', async (page) => { await page.goto(`${web}/agent/modeles`); await page.click('main form button.button'); }],
	['session-finie', async (page) => {
		await page.goto(`${web}/agent/conversations/${made.free}`);
		await page.fill('#text', 'Votre dossier est complet.');
		await page.context().clearCookies({ name: /session/ });
		await page.click('button[value=envoyer]');
		await says(page, 'Connectez-vous pour retrouver ce que vous avez écrit');
	}],
	['repris', async (page) => {
		await page.click('main a.button');
		await page.click('button:has-text("sofiane")');
		await page.waitForURL('**/repris');
		assert.equal(await page.inputValue('#text'), 'Votre dossier est complet.');
	}],
];

async function find(page, quoted) {
	await page.goto(`${web}/agent`);
	await page.fill('#q', quoted);
	await page.click('.find button');
	await page.waitForURL('**/agent/recherche?r=*');
}

// cut sets the size of text and lists what is not to be seen whole then: text beside the page,
// or in a box that hides what does not fit. Runs in the page.
const cut = (size) => {
	document.documentElement.style.fontSize = size;
	const faults = [], wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
	if (wide > 0) faults.push(`${wide} px too wide`);
	const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
	while (walker.nextNode()) {
		const text = walker.currentNode, at = text.parentElement;
		if (!text.data.trim() || !at.checkVisibility() || at.closest('.vh, .skip, .scroll, textarea, select, option, thead')) continue;
		const range = document.createRange();
		range.selectNodeContents(text);
		for (const { left, right, top, bottom } of range.getClientRects()) {
			if (right > innerWidth + 1 || left < -1) faults.push(`beside the page: ${text.data.trim().slice(0, 60)}`);
			for (let box = at; box !== document.body; box = box.parentElement) {
				if (!/hidden|clip/.test(getComputedStyle(box).overflow)) continue;
				const edge = box.getBoundingClientRect();
				if (left < edge.left - 1 || right > edge.right + 1 || top < edge.top - 1 || bottom > edge.bottom + 1) faults.push(`cut: ${text.data.trim().slice(0, 60)}`);
			}
		}
	}
	return faults;
};

// broken lists the dates and numbers that do not stand on one line. Runs in the page.
const broken = () => {
	const faults = [], walker = document.createTreeWalker(document.querySelector('main'), NodeFilter.SHOW_TEXT);
	while (walker.nextNode()) {
		const text = walker.currentNode;
		if (!text.parentElement.checkVisibility() || text.parentElement.closest('.vh, .said, .words, textarea, option')) continue;
		for (const { 0: number, index } of text.data.matchAll(/\d[\d/,\u00a0\u202f]*\d/g)) {
			const range = document.createRange();
			range.setStart(text, index);
			range.setEnd(text, index + number.length);
			if (new Set([...range.getClientRects()].map(({ top }) => Math.round(top))).size > 1) faults.push(number);
		}
	}
	return faults;
};

// Each scheme and each width; where pictures are taken, both schemes at both widths.
const looks = [{ colorScheme: 'light', width: 1280 }, { colorScheme: 'dark', width: 320 }];
if (process.env.SHOTS) looks.push({ colorScheme: 'dark', width: 1280 }, { colorScheme: 'light', width: 320 });

for (const [persona, states] of [['', [
	['connexion', async (page) => page.goto(`${web}/connexion`)],
	['connexion-agent', async (page) => page.goto(`${web}/connexion?pour=agent&retour=/agent`)],
	['connexion-ratee', async (page) => page.goto(`${web}/auth/callback?state=x&code=y`)],
	['introuvable-anonyme', async (page) => page.goto(`${web}/rien`)],
]], ['marc', [['profil', async (page) => page.goto(`${web}/profil`)], ['profil-erreur', async (page) => { await page.goto(`${web}/profil`); await page.click('main button'); await says(page, 'Choisissez un profil'); }], ['profil-brouillon', changeProfile], ['autre-profil', otherProfile]]], ['jeanne', member], ['sofiane', agent]]) {
	test(`axe and width: ${persona || 'nobody'}, ${looks.length} looks`, async () => {
		// axe is evaluated in the page, which the policy rightly forbids.
		const { page } = await person(browser, persona, { bypassCSP: true });
		for (const [name, reach] of states) {
			await reach(page);
			await page.waitForLoadState();
			await page.evaluate(axe);
			for (const { colorScheme, width } of looks) {
				await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
				await page.setViewportSize({ width, height: 900 });
				const { violations } = await page.evaluate(() => globalThis.axe.run(document, {
					runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'],
				}));
				assert.deepEqual(violations.map((v) => `${name}: ${v.id}: ${v.nodes.map((n) => n.html).join(' | ').slice(0, 400)}`), [], `${colorScheme}, ${width} px`);
				const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
				assert.ok(wide <= 0, `${name}: ${wide} px too wide for ${width}`);
				assert.deepEqual(await page.evaluate(broken), [], `${name}: ${width} px: on two lines`);
				if (process.env.SHOTS) await page.screenshot({ path: `${process.env.SHOTS}/${name}-${width}-${colorScheme}.png`, fullPage: name !== 'proposition' });
			}
			// At 1280 px a zoom of 200 % leaves 640, and one of 400 % the 320 above; then text alone grows.
			for (const [width, size] of [[640, '100%'], [1280, '200%']]) {
				await page.setViewportSize({ width, height: 900 });
				assert.deepEqual(await page.evaluate(cut, size), [], `${name}: ${width} px, text at ${size}`);
				if (process.env.SHOTS) await page.screenshot({ path: `${process.env.SHOTS}/${name}-${width}-text-${parseInt(size, 10)}.png`, fullPage: name !== 'proposition' });
			}
			await page.setViewportSize({ width: 1280, height: 900 });
			await page.evaluate(cut, '');
			await page.emulateMedia({ media: 'print' });
			assert.deepEqual(await page.evaluate(() => [...document.querySelectorAll('input[type=search]')].filter((el) => el.checkVisibility()).map((el) => el.id)), [], `${name}: an empty field is printed`);
			await page.emulateMedia({ media: 'screen' });
			if (process.env.SHOTS) {
				await page.emulateMedia({ colorScheme: 'dark', forcedColors: 'active' });
				await page.screenshot({ path: `${process.env.SHOTS}/${name}-forced.png`, fullPage: name !== 'proposition' });
				await page.emulateMedia({ colorScheme: 'light', forcedColors: 'none', media: 'print' });
				await page.screenshot({ path: `${process.env.SHOTS}/${name}-print.png`, fullPage: true });
				await page.emulateMedia({ media: 'screen' });
			}
		}
	});

	test(`valid HTML, and no breach of the policy: ${persona || 'nobody'}`, async () => {
		const { page, faults } = await person(browser, persona);
		await page.addInitScript(() => document.addEventListener('securitypolicyviolation', (event) => console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`)));
		for (const [name, reach] of states) {
			const bodies = [];
			const keep = (answer) => { if (answer.request().isNavigationRequest() && answer.url().startsWith(web) && (answer.headers()['content-type'] ?? '').startsWith('text/html')) bodies.push(answer.text().catch(() => '')); };
			page.on('response', keep);
			await reach(page);
			await page.waitForLoadState();
			page.off('response', keep);
			for (const body of await Promise.all(bodies)) {
				if (!body) continue;
				const report = await html.validateString(body);
				assert.deepEqual(report.results.flatMap((r) => r.messages.map((m) => `${name}: ${m.ruleId}: ${m.message} (${m.selector})`)), []);
			}
		}
		assert.deepEqual(faults, []);
	});
}

test('the head: one line from 1024 px on, at most a fifth of 320 × 568', async () => {
	for (const [persona, path] of [['jeanne', '/messagerie'], ['marc', '/messagerie'], ['claire', '/agent'], ['sofiane', '/agent']]) {
		for (const locale of ['fr-FR', 'en-GB']) {
			const { page, context } = await person(browser, persona, { locale });
			if (persona === 'marc') await page.check('input[value=EXPLOITANT]').then(() => page.click('main button'));
			await page.goto(`${web}${path}`);
			await page.setViewportSize({ width: 320, height: 568 });
			const tall = await page.evaluate(() => document.querySelector('.top').getBoundingClientRect().height);
			assert.ok(tall > 40 && tall <= 568 / 5, `${persona}, ${locale}: ${tall} px of 568`);
			for (const width of [1024, 1280]) {
				await page.setViewportSize({ width, height: 900 });
				// A name that is too long is shortened; all of it is in the title, and is spoken.
				for (const name of ['', 'Maximilienne-Antoinette de Rochechouart-Montmorency']) {
					if (name) await page.evaluate((name) => { document.querySelector('.name bdi').textContent = name; }, name);
					const parts = await page.evaluate(() => [...document.querySelectorAll('.bar > *, .bar li, .who > *')].flatMap((part) => [...part.getClientRects()]).map(({ top, bottom }) => ({ top, bottom })));
					assert.ok(Math.max(...parts.map((p) => p.top)) < Math.min(...parts.map((p) => p.bottom)), `${persona}, ${locale}, ${width} px: ${JSON.stringify(parts)}`);
					const [high, wide, shown] = await page.evaluate(() => [document.querySelector('.top').getBoundingClientRect().height, document.documentElement.scrollWidth, document.querySelector('.name').getBoundingClientRect().width]);
					assert.ok(high <= 68 && wide <= width && shown >= 40, `${persona}, ${locale}, ${width} px: ${high} px high, ${wide} wide, the name ${shown}`);
				}
				await page.reload();
				assert.equal(await page.getAttribute('.name', 'title'), await page.textContent('.name'));
			}
			await context.close();
		}
	}
});

test('first load of each member page: at most 20 kB over the wire', async () => {
	const { page, context } = await person(browser, 'marc');
	const cdp = await context.newCDPSession(page);
	await cdp.send('Network.enable');
	await cdp.send('Network.setCacheDisabled', { cacheDisabled: true });
	let bytes = 0;
	cdp.on('Network.loadingFinished', (event) => { bytes += event.encodedDataLength; });
	const weights = {};
	// The pages before one is a member, then as jeanne.
	const first = [
		['profil', (p) => p.goto(`${web}/profil`)],
		['connexion', async (p) => { await context.clearCookies(); await p.goto(`${web}/connexion`); }],
		['espace', async (p) => { await p.click('main a.button'); await p.click('button:has-text("jeanne")'); await p.waitForURL('**/espace'); }],
	];
	for (const [name, reach] of [...first, ...member]) {
		// States that are reached by several pages: the last one is loaded again.
		await reach(page);
		if (!name.endsWith('-erreur')) {
			await page.waitForLoadState();
			bytes = 0;
			await page.reload();
			await page.waitForLoadState('load');
			weights[name] = bytes;
		}
	}
	console.log('bytes over the wire:', JSON.stringify(weights));
	for (const [name, weight] of Object.entries(weights)) {
		assert.ok(weight > 1000 && weight <= 20_000, `${name} weighs ${weight} bytes`);
	}
});

test('first load of each console page: at most 40 kB over the wire', async () => {
	const { page, context } = await person(browser, 'sofiane');
	const cdp = await context.newCDPSession(page);
	await cdp.send('Network.enable');
	await cdp.send('Network.setCacheDisabled', { cacheDisabled: true });
	let bytes = 0;
	cdp.on('Network.loadingFinished', (event) => { bytes += event.encodedDataLength; });
	const weights = {};
	for (const path of ['', '?etat=toutes&theme=' + withService[0], `/conversations/${made.free}`, `/conversations/${made.answered}`, '/recherche', '/audit', '/statistiques', '/modeles']) {
		bytes = 0;
		await page.goto(`${web}/agent${path}`);
		await page.waitForLoadState('load');
		weights[path] = bytes;
	}
	console.log('bytes over the wire:', JSON.stringify(weights));
	for (const [path, weight] of Object.entries(weights)) {
		assert.ok(weight > 1000 && weight <= 40_000, `/agent${path} weighs ${weight} bytes`);
	}
});

test('English', async () => {
	const { page } = await person(browser, 'jeanne', { locale: 'en-GB' });
	assert.equal(await page.getAttribute('html', 'lang'), 'en');
	await page.goto(`${web}/messagerie`);
	assert.ok(await page.isVisible('text=Write a new message'));
	await page.click('button:has-text("Français")');
	assert.equal(await page.getAttribute('html', 'lang'), 'fr');
	assert.match(page.url(), /\/messagerie$/);
});

test('the end of the session is announced, and can be put off', async () => {
	const { page } = await person(browser, 'jeanne');
	// The browser's clock runs ahead of the server's, which is asked what is left.
	let left = { secondsLeft: 1700, secondsMost: 20000 };
	await page.route(`${web}/session`, (route) => {
		if (route.request().method() === 'POST') left = { secondsLeft: 1800, secondsMost: 20000 };
		return route.fulfill(left ? { json: left } : { status: 401 });
	});
	await page.clock.install();
	await page.goto(`${web}/messagerie`);
	const asked = page.waitForResponse('**/session');
	await page.clock.fastForward('28:30');
	await asked;
	assert.ok(!(await page.isVisible('#ending')), 'another tab has prolonged it');
	const warned = async (selector) => {
		for (let i = 0; i < 100 && !(await page.isVisible(selector)); i += 1) await page.clock.fastForward('28:30');
		await page.waitForSelector(selector);
	};
	left = { secondsLeft: 90, secondsMost: 20000 };
	await warned('#ending:has-text("moins de deux minutes") button');
	await page.click('text=Rester connecté');
	await page.waitForSelector('#ending', { state: 'hidden' });
	left = { secondsLeft: 90, secondsMost: 90 };
	await warned('#ending:has-text("ne peut plus être prolongée")');
	assert.ok(!(await page.isVisible('#ending button')), 'it offers to stay');
	left = undefined;
	await warned('#ending:has-text("Votre session est terminée")');
});
