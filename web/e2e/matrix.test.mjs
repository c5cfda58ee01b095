// What was typed is never lost: a marked text in every field for text that the pages have, for each
// of the things that can come between, with JavaScript on and off. TYPED=all tries everything, and
// prints what became of it; else a tenth is drawn, by TYPED_SEED if that is set.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { launch, web } from './browser.mjs';
import { disturbances } from './disturbances.mjs';
import { fieldsOf, formsOn, inTemplates, markedText, pages } from './fields.mjs';

let browser;
before(async () => { browser = await launch(); });
after(async () => { await browser.close(); });

const all = process.env.TYPED === 'all';
const seed = Number(process.env.TYPED_SEED || Math.floor(Math.random() * 2 ** 31));
const only = new RegExp(process.env.TYPED_ONLY || '');

let people = 0;
const nobodyElse = () => { people += 1; return `particulier-${1000 + people}`; };
const agents = (worker) => `conseiller-armorique-${100 + worker}`;
const sideOf = (persona) => (/^(conseiller|claire|nadia|sofiane)/.test(persona) ? 'agent' : 'member');

// signedIn is what a browser has once somebody has signed in, which takes longer than all else.
const sessions = new Map();
async function signedIn(persona) {
	const had = sessions.get(persona);
	if (had && Date.now() - had.at < 600_000) return had.state;
	const context = await browser.newContext({ locale: 'fr-FR' });
	const page = await context.newPage();
	await signInOn(page, persona);
	const state = await context.storageState();
	await context.close();
	sessions.set(persona, { at: Date.now(), state });
	return state;
}

// choosePersona signs in on the page of the provider, and takes the first profile.
async function choosePersona(page, persona) {
	const button = page.locator('button[name=persona]').first();
	await button.evaluate((el, name) => { el.value = name; }, persona);
	await button.click();
	await page.waitForURL((url) => String(url).startsWith(web));
	if (page.url().includes('/profil')) {
		await page.check('input[value=PARTICULIER]');
		await Promise.all([page.waitForEvent('domcontentloaded'), page.click('main form button.button')]);
	}
}

async function signInOn(page, persona) {
	await page.goto(`${web}/connexion/${sideOf(persona)}`);
	await choosePersona(page, persona);
}

// Run is one text in one page's fields, and what becomes of it.
class Run {
	constructor(spec, disturbance, javaScriptEnabled, worker) {
		Object.assign(this, { spec, disturbance, javaScriptEnabled, markedText, signInOn });
		this.other = disturbance.fresh ? nobodyElse() : `particulier-${9000 + worker}`;
		this.persona = disturbance.persona && sideOf(disturbance.persona) === spec.side ? disturbance.persona : spec.side === 'agent' ? agents(worker) : this.other;
		this.stranger = spec.side === 'agent' ? 'sofiane' : 'paul';
	}

	async begin() {
		this.context = await browser.newContext({ locale: 'fr-FR', reducedMotion: 'reduce', javaScriptEnabled: this.javaScriptEnabled, storageState: await signedIn(this.persona) });
		this.context.setDefaultTimeout(10_000);
		this.faults = [];
		await this.tab();
		if (this.disturbance.behind) await this.page.goto(`${web}/aide`); // to go back to
	}

	async tab() {
		this.page = await this.context.newPage();
		this.asked = false;
		this.page.on('pageerror', (error) => this.faults.push(String(error)));
		this.page.on('dialog', async (dialog) => { this.asked = true; await dialog.dismiss(); });
	}

	press(button) { return this.pressOn(this.page, button); }

	// pressOn sends a form, unless the browser refuses to.
	async pressOn(page, button) {
		const at = page.locator(button).first();
		if (await at.evaluate((el) => el.form && !el.form.noValidate && !el.form.checkValidity())) { await at.click(); return; }
		const asked = new Promise((resolve) => { page.once('dialog', resolve); });
		await Promise.all([Promise.race([page.waitForEvent('domcontentloaded'), asked]), at.click({ noWaitAfter: true })]);
	}

	// typeInto fills the fields of the page's form, each with what text returns for it.
	async typeInto(page, text) {
		const typed = {};
		const form = (await page.locator(this.spec.button).first().evaluateHandle((el) => el.form)).asElement();
		for (const field of await fieldsOf(page, this.spec.button)) {
			if (field.type === 'hidden') { typed[field.name] = this.made.text; continue; }
			typed[field.name] = text({ field, was: markedText(field) });
			const control = await form.$(`[name="${field.name}"]`);
			await control.click();
			await control.fill(typed[field.name]);
		}
		return typed;
	}

	async signIn() {
		await this.page.click('main a.button');
		await choosePersona(this.page, this.persona);
	}

	// settle goes where answers lead: through the sign-in, and to where what was sent stands.
	async settle() {
		if (new URL(this.page.url()).pathname === '/connexion') await this.signIn();
		// What is asked for again, a theme that is gone, is answered.
		for (let i = 0; i < 3 && await this.page.locator('main form[data-once] fieldset[role=radiogroup]').count(); i += 1) {
			await this.page.check('main input[type=radio] >> nth=0');
			await this.press('main form[data-once] button.button');
		}
		await this.spec.landed?.(this);
	}

	async closeTab() {
		const { page } = this;
		const closed = page.waitForEvent('close', { timeout: 5000 }).then(() => true, () => false), asked = page.waitForEvent('dialog', { timeout: 5000 }).then(() => false, () => true);
		await page.close({ runBeforeUnload: true });
		if (await Promise.race([closed, asked])) await this.tab();
	}

	// missing are those of the texts that neither a field nor the page has.
	async missing(texts) {
		const { page } = this;
		const has = await page.locator('body').evaluate((body) => ({
			values: [...body.querySelectorAll('textarea, input:not([type=hidden])')].map((f) => f.value),
			text: (body.querySelector('main')?.textContent ?? '').replace(/\s+/g, ' '),
			shown: [...body.querySelectorAll('main textarea')].map((f) => f.value),
		}));
		const stored = (text) => text.replaceAll('\u0007', ''); // which nobody sees
		// A number that was stored is shown as people write it.
		const shown = (text) => text.replace(/^\+33(\d)(\d\d)(\d\d)(\d\d)(\d\d)$/, '0$1 $2 $3 $4 $5');
		return texts.filter((typed) => ((text) => !(has.values.includes(text) || has.values.includes(shown(text)) || has.values.includes(text.trim()) || has.text.includes(text.trim().replace(/\s+/g, ' '))
			|| this.disturbance.inserts && has.values.some((value) => value.startsWith(text))))(stored(typed)));
	}

	// missingAt is missing, on the page that was left, once what it sent when it was left is there.
	async missingAt(texts, patient) {
		let lost = await this.missing(texts).catch(() => texts);
		for (const end = Date.now() + (patient ? 6000 : 1); lost.length && Date.now() <= end;) {
			await this.page.goto(this.at).catch(() => {}); // a page that asks first stays
			lost = await this.missing(texts);
		}
		return lost;
	}

	async go() {
		const { spec, disturbance: d } = this;
		await this.begin();
		await spec.open(this);
		await d.before?.(this);
		if (d.before && this.persona === 'nadia') await this.page.reload();
		this.at = this.page.url();
		this.typed = await this.typeInto(this.page, d.text ?? (({ was }) => was));
		const texts = Object.values(this.typed);
		if (d.happens) await d.happens(this).catch((error) => { if (!this.asked) throw error; });
		if (d.leaves) return this.missingAt(texts, this.javaScriptEnabled && (spec.autosaved || spec.draft));
		if (d.stays && (d.stays === true || await d.stays(this))) return this.missing(texts);
		if (d.breaks) {
			await Promise.all([this.page.waitForEvent('requestfailed', (request) => request.isNavigationRequest()), this.page.locator(spec.button).first().click({ noWaitAfter: true })]);
			await d.mended?.(this);
			await this.page.waitForURL(/^chrome-error:/).catch(() => {});
			await this.page.reload().catch(() => {});
		} else if (d.double) {
			await Promise.all([this.page.waitForEvent('domcontentloaded'), this.page.locator(spec.button).first().dblclick({ noWaitAfter: true })]);
			await this.page.waitForLoadState('load');
		} else {
			await this.press(spec.button);
		}
		await this.settle();
		let lost = await this.missing(texts);
		if (lost.length && (d.breaks || d.double)) lost = await this.missingAt(texts, true);
		if (!lost.length && d.again) {
			await this.page.unrouteAll({ behavior: 'ignoreErrors' });
			const same = this.page.locator(spec.button).first(), kept = 'main form[data-once] button.button';
			const button = await same.count() ? spec.button : await this.page.locator(kept).count() ? kept : ''; // a search has been answered
			if (button) await this.press(button);
			await this.settle();
			lost = await this.missing(texts);
		}
		if (!lost.length && d.once && spec.stored) {
			const text = this.typed[spec.sends ?? 'texte'];
			const times = await spec.stored(this, text.replaceAll('\u0007', ''));
			assert.equal(times, 1, `stored ${times} times`);
		}
		// Words in an address are asked of whoever is signed in.
		if (!lost.length && d.then && !spec.get) { await d.then(this); lost = await this.missing(texts); }
		return lost;
	}
}

// combinations are all that can be tried, and why the others cannot.
const combinations = [], inapplicable = new Map();
for (const [page, spec] of Object.entries(pages)) {
	for (const [name, disturbance] of Object.entries(disturbances)) {
		const reason = disturbance.applies?.(spec) || (disturbance.persona && sideOf(disturbance.persona) !== spec.side ? 'the other side’s' : '');
		for (const javaScriptEnabled of [true, false]) {
			if (reason) inapplicable.set(reason, (inapplicable.get(reason) ?? 0) + 1);
			else combinations.push({ page, spec, name, disturbance, javaScriptEnabled, label: `${page}: ${name}, JavaScript ${javaScriptEnabled ? 'on' : 'off'}` });
		}
	}
}

// drawn is a part of them that has each page and each disturbance.
function drawn(part) {
	let state = seed;
	const next = () => { state = (Math.imul(state, 1664525) + 1013904223) >>> 0; return state / 2 ** 32; };
	const mixed = combinations.map((c) => [next(), c]).sort(([a], [b]) => a - b).map(([, c]) => c);
	const seen = new Set(), first = [], rest = [];
	for (const c of mixed) {
		const news = !seen.has(c.name) || !seen.has(c.page);
		(news ? first : rest).push(c);
		seen.add(c.name).add(c.page);
	}
	return [...first, ...rest].slice(0, Math.max(first.length, Math.ceil(combinations.length * part)));
}

const results = [];
// width is how many people type at once.
const width = Number(process.env.TYPED_WIDTH || 3);

test('what was typed is found again', { timeout: 35 * 60_000 }, async (t) => {
	const todo = (all ? combinations : drawn(0.1)).filter(({ label }) => only.test(label));
	t.diagnostic(`${todo.length} of ${combinations.length} combinations${all ? '' : `, drawn by TYPED_SEED=${seed}`}`);
	assert.ok(todo.length, 'nothing has such a name');
	const waiting = [...todo];
	const begun = Date.now();
	await Promise.all(Array.from({ length: width }, async (_, worker) => {
		for (let c = waiting.shift(); c; c = waiting.shift()) {
			const run = new Run(c.spec, c.disturbance, c.javaScriptEnabled, worker), result = { ...c };
			results.push(result);
			const started = Date.now();
			try {
				result.lost = await run.go();
				if (run.faults.length) result.fault = run.faults.join('; ');
			} catch (error) {
				result.fault = `${String(error.message).split('\n').slice(0, 3).join(' ')} on ${run.page?.url()}`;
			}
			result.typed = run.typed ?? {};
			result.asked = run.asked;
			if (result.lost?.length || result.fault) result.where = await run.page?.locator('h1').first().textContent({ timeout: 500 }).catch(() => '');
			result.took = Date.now() - started;
			await run.context?.close();
			if (process.env.TYPED_VERBOSE) console.log(`${result.lost?.length ? 'LOST' : result.fault ? 'FAULT' : 'kept'} ${result.took} ${c.label} ${result.fault ?? ''} ${result.lost?.length ? `[${result.where}]` : ''}`);
		}
	}));
	report(t, (Date.now() - begun) / 1000);
	assert.deepEqual(results.filter(({ fate }) => fate === 'lost').map((r) => `${r.label}: ${(r.fields ?? []).join(', ')} ${r.fault ?? ''} [${r.where}]`), []);
});

// fateOf is what became of a field, or of all of a run's. Two are no losses of the product's, and
// are counted apart: what a page without its script was left with, of which nobody knows, and words
// of a search that was never begun, which nobody keeps.
function fateOf(r, lost) {
	if (r.fault) return 'lost';
	if (!lost) return r.asked ? 'asked' : 'kept';
	if (!r.disturbance.leaves) return 'lost';
	if (r.disturbance.ties) return r.spec.search ? 'search not begun' : 'lost';
	if (!r.javaScriptEnabled) return r.disturbance.carries ? 'lost' : 'never sent';
	return r.spec.search ? 'search not begun' : 'lost';
}

// report prints what became of each field.
function report(t, seconds) {
	const none = () => ({ kept: 0, asked: 0, 'never sent': 0, 'search not begun': 0, lost: 0 });
	const counts = none(), table = new Map();
	const said = (row) => Object.entries(row).map(([fate, n]) => `${fate} ${n}`).join(', ');
	for (const r of results) {
		r.fields = Object.entries(r.typed).filter(([, text]) => r.lost?.includes(text)).map(([name]) => name);
		r.fate = fateOf(r, r.fields.length > 0);
		for (const name of Object.keys(r.typed)) {
			const field = `${r.page} / ${name}`, fate = fateOf(r, r.fields.includes(name));
			table.set(field, table.get(field) ?? none());
			table.get(field)[fate] += 1;
			counts[fate] += 1;
		}
	}
	t.diagnostic(`${results.length} pages with a disturbance, ${table.size} fields × ${Object.keys(disturbances).length} disturbances × JavaScript on and off, in ${seconds.toFixed(0)} s: ${said(counts)} (asked: the browser asks before the page is left)`);
	for (const [field, row] of table) t.diagnostic(`${field.padEnd(26)} ${said(row)}`);
	for (const [reason, n] of inapplicable) t.diagnostic(`not applicable, ${reason}: ${n}`);
	for (const fate of ['never sent', 'search not begun', 'lost']) {
		for (const r of results.filter((result) => result.fate === fate)) t.diagnostic(`${fate}: ${r.label} (${r.fields.join(', ')})`);
	}
}

test('every field of the templates is typed into', async () => {
	const typedInto = new Set();
	for (const spec of Object.values(pages)) {
		const run = new Run(spec, {}, true, 90);
		await run.begin();
		await spec.open(run);
		for (const { name } of await fieldsOf(run.page, spec.button)) typedInto.add(name);
		// Nor has a page a form with a field that no button of the table sends.
		const known = [];
		for (const { button } of Object.values(pages)) {
			if (await run.page.locator(button).count()) known.push(await run.page.locator(button).first().evaluate((el) => el.form.getAttribute('action')));
		}
		for (const form of await formsOn(run.page)) {
			for (const name of form.names) assert.ok(known.includes(form.action), `nothing is typed into ${name} of the form to ${form.action} on ${run.page.url()}`);
		}
		await run.context.close();
	}
	for (const { file, name } of inTemplates()) assert.ok(typedInto.has(name), `nothing is typed into ${name} of ${file}`);
	assert.ok(inTemplates().length >= 15);
});
