// What a member hears of the pages from Orca, in French, in Chromium and in Firefox: heard.txt
// has the sentences that must be spoken to their end, page by page.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { launch, press, reply, signIn, until, web } from './people.mjs';
import { desktop } from './screen.mjs';

const sentences = new Map();
for (const part of readFileSync(new URL('heard.txt', import.meta.url), 'utf8').split(/^# /m).slice(1)) {
	const [name, ...lines] = part.trim().split('\n');
	sentences.set(name, lines.filter(Boolean));
}

// What is spoken comes in pieces, which browsers cut differently.
const plain = (text) => text.replace(/[.,]/g, ' ').replace(/’/g, '\'').replace(/[\s\u00a0\u202f]+/g, ' ').trim();

const go = 'main form[data-once] button.button';
const codes = ['famille-logement', 'allocations-familiales', 'paiement-absent'];

for (const name of ['chromium', 'firefox']) {
	test(`heard in ${name}`, async (t) => {
		const { browser, said, keys, type, click, stop } = await desktop(name);
		// Orca would follow a second browser on its bus.
		const theirs = await launch('chromium', { env: { PATH: process.env.PATH, HOME: process.env.HOME } });
		try {
			const [page] = await browser.pages();
			// A page asks before it is left with something typed.
			page.on('dialog', (dialog) => dialog.accept());
			const rest = new Set(sentences.keys()), faults = [];
			const hear = (from) => plain(said.slice(from).filter(({ cut }) => !cut).map(({ text }) => text).join(' '));
			// hears does something and waits until all sentences of a part of the table are spoken.
			const hears = async (part, act, values = {}) => {
				rest.delete(part);
				// A key stops what is being read of the page before; its own name is the last of it.
				// Pressed between two sentences it stops nothing.
				await until('Orca is silent', async () => {
					const before = said.length;
					await keys('Control_L');
					await until('the key is spoken', () => said.slice(before).some(({ text }) => text === 'contrôle gauche'));
					const all = said.length;
					return !await until('another word', () => said.length > all, 500).catch(() => false);
				});
				const from = said.length;
				await act();
				let missing = sentences.get(part).map((line) => line.replace(/\{(\w+)\}/g, (_, key) => values[key]));
				assert.ok(missing.length > 0, `${part} has no sentences`);
				try {
					await until(part, () => {
						const heard = hear(from);
						missing = missing.filter((line) => !heard.includes(plain(line)));
						return missing.length === 0;
					}, 20_000);
				} catch {
					faults.push(`${name}, ${part}: not heard:\n${missing.join('\n')}\nbut:\n${said.slice(from).map(({ text, cut }) => (cut ? `[cut off] ${text}` : text)).join('\n')}`);
					return;
				}
				t.diagnostic(`${part}: ${sentences.get(part).length} sentences heard`);
			};
			const open = (path) => () => page.goto(`${web}${path}`);
			const next = () => press(page, go);
			// The summary's first link leads to the field.
			const toField = async () => {
				const from = said.length;
				await page.focus('#faults a');
				await until('the link is spoken', () => said.slice(from).some(({ text }) => text.endsWith('lien.')));
				await keys('Return');
			};
			// From the address to the page. When it is loaded again it is read to its end, if the
			// page was there already when one went to it.
			await page.goto(`${web}/aide`);
			const read = () => said.some(({ text, cut }) => !cut && text.includes('vos échanges sont protégés'));
			await until('a page is read to its end', async () => {
				if (name === 'firefox') await keys('F6');
				else await click(1000, 600);
				await page.reload();
				return until('it is read', read, 10_000).catch(() => false);
			});
			await hears('connexion', open('/connexion'));
			await signIn(page, 'jeanne');
			await hears('espace', open('/espace'));
			await hears('contact', open('/espace/contact'));
			await hears('mes-messages', open('/espace/messages'));
			await hears('accueil', open('/messagerie'));
			await hears('masquees', open('/messagerie?masquees=1'));
			for (const [part, words] of [['recherche-vide', 'zzzz'], ['recherche', 'rib']]) {
				await page.goto(`${web}/messagerie/nouveau`);
				await page.$eval('#q', (field, text) => { field.value = text; }, words);
				await hears(part, () => press(page, 'form.search button'));
			}
			// 2: selection.
			await hears('theme', open('/messagerie/nouveau'));
			await hears('theme-erreur', next);
			await hears('theme-erreur-champ', toField);
			await hears('theme-choisi', () => keys('space'));
			await page.$eval(`input[value="${codes[0]}"]`, (input) => input.click());
			await hears('sujet', next);
			await hears('sujet-erreur', next);
			await hears('sujet-erreur-champ', toField);
			await page.$eval(`input[value="${codes[1]}"]`, (input) => input.click());
			await hears('motif', next);
			await hears('motif-erreur', next);
			await hears('motif-erreur-champ', toField);
			await page.$eval(`input[value="${codes[2]}"]`, (input) => input.click());
			// 3: online service.
			await hears('proposition', next);
			await hears('proposition-lien', () => keys('Tab'));
			// 4: writing.
			await hears('message', async () => {
				await keys('Escape');
				await page.waitForFunction(() => document.activeElement.id === 'text');
				// Orca does not always say in Firefox where the focus is when a modal window has
				// closed: one leaves the field and comes back.
				if (name === 'firefox') await keys('shift+Tab', 'Tab');
			});
			await hears('message-compte', () => type('neuf cara'));
			await hears('message-erreur', next);
			await hears('message-erreur-champ', toField);
			await hears('message-reste', async () => { await keys('ctrl+End'); await type('cteres et plus.'); });
			// 5: recap and confirmation.
			await hears('recapitulatif', next);
			const confirmed = {};
			await hears('confirmation', async () => {
				await next();
				confirmed.reference = (await page.$eval('.panel strong', (el) => el.textContent)).trim();
			}, confirmed);
			await hears('conversation', () => press(page, 'main a[href^="/messagerie/conversations/"]'), confirmed);
			// 7: the reply arrives while the page is open.
			await hears('reponse', () => reply(theirs, page.url().split('/').pop(), 'Votre dossier est complet.'));
			await hears('reponse-titre', async () => {
				// From heading to heading of this level, each heard to its end.
				for (let i = 0, heard = ''; i < 6 && !heard.includes('Claire Bernard'); i += 1) {
					const at = said.length;
					await keys('2');
					await until('a heading', () => { heard = hear(at); return heard.includes('en-tête niveau 2'); });
				}
			});
			await hears('conversation-erreur', next, confirmed);
			await hears('conversation-erreur-champ', toField);
			await hears('preferences', open('/preferences'));
			await page.$eval('#phone', (input) => { input.value = '17'; });
			await hears('preferences-erreur', () => press(page, 'main form button.button'));
			await hears('preferences-erreur-champ', toField);
			await hears('donnees', open('/donnees-personnelles'));
			await hears('aide', open('/aide'));
			await hears('accessibilite', open('/accessibilite'));
			await hears('mentions', open('/mentions-legales'));
			await hears('introuvable', open('/messagerie/conversations/00000000-0000-7000-8000-000000000000'));
			// What a page says by itself.
			await hears('hors-connexion', () => page.evaluate(() => {
				Object.defineProperty(navigator, 'onLine', { get: () => false });
				dispatchEvent(new Event('offline'));
			}));
			assert.deepEqual([...rest], [], 'parts of the table that nothing came to');
			assert.equal(faults.join('\n\n'), '');
		} finally {
			await theirs.close();
			await stop();
		}
	});
}
