// Progressive enhancement: every page does its job without this file.
// @ts-check

/** @template {Element} T @param {string} selector @param {(el: T) => void} use */
const each = (selector, use) => document.querySelectorAll(selector).forEach((el) => use(/** @type {any} */ (el)));
const byId = (/** @type {string} */ id) => document.getElementById(id);

// A trace begins at the click, recorded or not as the server decided for this page.
const told = /** @type {PerformanceNavigationTiming | undefined} */ (performance.getEntriesByType('navigation')[0])
	?.serverTiming?.find((timing) => timing.name === 'traceparent')?.description.slice(-2);
const hex = (/** @type {number} */ bytes) => [...crypto.getRandomValues(new Uint8Array(bytes))].map((b) => b.toString(16).padStart(2, '0')).join('');
/** @returns {Record<string, string>} */
const click = () => (told ? { traceparent: `00-${hex(16)}-${hex(8)}-${told}` } : {});

/** A form has the trace in its first field: the server looks no further. @param {SubmitEvent} event */
const traced = (event) => {
	const form = /** @type {HTMLFormElement} */ (event.target), { traceparent } = click();
	if (event.defaultPrevented || !traceparent || form.getAttribute('method') !== 'post') return;
	const field = /** @type {HTMLInputElement} */ (form.querySelector('input[name=traceparent]') ?? document.createElement('input'));
	Object.assign(field, { type: 'hidden', name: 'traceparent', value: traceparent });
	form.prepend(field);
};
document.addEventListener('submit', traced);

// White space as Go's unicode.IsSpace has it, which String.trim has not quite.
const SPACE = '[\\t-\\r \\u0085\\u00a0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000]+';
const OUTER = new RegExp(`^${SPACE}|${SPACE}$`, 'g');

// Line ends that slides, PDF files and other programs have; characters that nobody sees or wants
// (controls, bidirectional embeddings and overrides); and those that come in pairs on a line.
const ENDS = /\r\n?|[\v\f\u0085\u2028\u2029]/g, UNSEEN = /[\0-\x08\x0e-\x1f\x7f-\x9f\u202a-\u202e]/, PAIRED = /[\u2066-\u2069]/;

/** A text as the service cleans it, but for NFC and trimming, and how much it takes out.
 * @param {string} raw */
export const clean = (raw) => {
	let removed = 0;
	const text = raw.replace(ENDS, '\n').split('\n').map((line) => {
		if (!UNSEEN.test(line) && !PAIRED.test(line)) return line;
		const kept = /** @type {string[]} */ ([]), open = /** @type {number[]} */ ([]);
		for (const c of line) {
			if (UNSEEN.test(c) || c === '\u2069' && !open.length) { removed += 1; continue; }
			if (c === '\u2069') open.pop();
			else if (PAIRED.test(c)) open.push(kept.length);
			kept.push(c);
		}
		removed += open.length;
		for (const at of open) kept[at] = '';
		return kept.join('');
	}).join('\n');
	return { text, removed };
};

/** Characters as the service counts them: code points of what is stored. @param {string} text */
export const count = (text) => [...clean(text).text.normalize('NFC').replace(OUTER, '')].length;

/** What is pasted is shown as it will be stored, and said where something was taken out.
 * @param {HTMLTextAreaElement} area */
const cleaned = (area) => area.addEventListener('input', (event) => {
	const { text, removed } = clean(area.value), said = byId('taken');
	if (text === area.value || /** @type {InputEvent} */ (event).isComposing) return;
	const caret = clean(area.value.slice(0, area.selectionEnd)).text.length;
	area.value = text;
	area.setSelectionRange(caret, caret);
	if (!said || !removed) return;
	said.hidden = false;
	if (said.previousElementSibling !== area) { said.textContent = ''; area.after(said); }
	setTimeout(() => { said.textContent = counting(said, 'taken', removed).replace('{n}', String(removed)); }, 100);
});

/** The words for a number: those of the singular where the language has it, of 0 too in French.
 * @param {HTMLElement} el @param {string} what @param {number} n */
const counting = (el, what, n) => String(el.dataset[new Intl.PluralRules(document.documentElement.lang).select(n) === 'one' ? `${what}One` : what]);

/** The count under a text: shown at once, spoken when typing stops. It does not describe the
 * field: what changes there is spoken with every key. @param {HTMLTextAreaElement} area */
const counted = (area) => {
	const shown = byId('count'), said = byId('count-said');
	if (!shown || !said) return;
	const { min, max } = shown.dataset;
	const rule = shown.textContent;
	const say = (/** @type {string} */ what, /** @type {number} */ n) => counting(shown, what, n).replace('{n}', String(n));
	let timer = 0;
	const update = () => {
		const n = count(area.value);
		let text = rule;
		if (n > Number(max)) text = say('over', n - Number(max));
		else if (n >= Number(min)) text = say('left', Number(max) - n);
		else if (n > 0) text = say('short', Number(min) - n);
		shown.textContent = text;
		shown.classList.toggle('fault', n > Number(max));
		return n ? text : '';
	};
	area.addEventListener('input', () => {
		const text = update();
		clearTimeout(timer);
		timer = setTimeout(() => { said.textContent = text; }, 1000);
	});
	// A page that has come is being read: nothing is said into it.
	if (area.value) update();
};

/** Calls back when a page is still there after a form was sent: brought back by the browser, or
 * stopped on the way, of which a page is not told. @param {HTMLFormElement} form @param {() => void} back */
const returned = (form, back) => {
	let timer = 0;
	form.addEventListener('submit', () => { clearTimeout(timer); timer = setTimeout(back, 5000); });
	addEventListener('pageshow', back);
};

/** Saves a draft two seconds after the last key, and again until it is saved; what is not yet
 * when the page is left, then: a browser sends 64 kB behind it. A page saves what it has seen the
 * draft of, and no other tab's; what came back from a refusal is not stored yet.
 * @param {HTMLFormElement} form */
const autosaved = (form) => {
	const note = byId('saved'), tag = /** @type {HTMLInputElement | null} */ (form.querySelector('input[name=etag]'));
	const areas = /** @type {HTMLTextAreaElement[]} */ ([...form.querySelectorAll('textarea[name]')]);
	const written = () => new URLSearchParams(areas.map((area) => [area.name, area.value])).toString();
	let timer = 0, failed = false, sending = '', stored = 'unstored' in form.dataset && areas.some((area) => area.value) ? '' : written(), busy = /** @type {Promise<void> | undefined} */ (undefined), over = false, sent = false;
	const say = (/** @type {string | undefined} */ text) => { if (note) note.textContent = String(text); };
	const save = () => {
		clearTimeout(timer);
		if (written() !== stored && !busy && !over && !sent) busy = put(written()).finally(() => { busy = undefined; });
	};
	const put = async (/** @type {string} */ text) => {
		sending = text;
		try {
			const answer = await fetch(String(form.dataset.autosave), {
				method: 'POST', headers: click(), body: new URLSearchParams(`${text}&etag=${encodeURIComponent(tag?.value ?? '')}`), redirect: 'manual', keepalive: text.length < 60000, signal: AbortSignal.timeout(10000),
			});
			failed = answer.status !== 204;
			if (answer.status === 412) { over = true; say(form.dataset.elsewhere); return; }
			if (answer.status !== 204 && answer.status !== 422) throw new Error(String(answer.status));
			if (answer.status === 204) {
				stored = text;
				if (tag) tag.value = answer.headers.get('etag') ?? '';
			}
			// Said only of what is in the fields now.
			if (text === written()) say(answer.status === 204 ? form.dataset.saved : form.dataset.refused);
			else timer = setTimeout(save, 2000);
		} catch {
			failed = true;
			say(form.dataset.unsaved);
			timer = setTimeout(save, 10000);
		}
	};
	form.addEventListener('input', () => {
		clearTimeout(timer);
		timer = setTimeout(save, 2000);
		if (note && note.textContent === form.dataset.saved) note.textContent = '';
	});
	if (!stored) timer = setTimeout(save, 2000);
	addEventListener('online', save);
	// What could not be saved is lost with the page: the browser asks, in its own words.
	addEventListener('beforeunload', (event) => {
		const behind = busy && sending !== written(); // the save that is under way has not all
		if ((failed || behind) && !sent && written() !== stored) event.preventDefault();
	});
	// A page that is loaded again may have been faster than what was saved when it was left.
	const loaded = written(), behind = sessionStorage.getItem('saving');
	sessionStorage.removeItem('saving');
	/** Which text of which page is being saved, and nothing of what it says. @param {string} text */
	const mark = (text) => `${location.pathname} ${[...text].reduce((sum, c) => (Math.imul(sum, 31) + (c.codePointAt(0) ?? 0)) | 0, 7)}`;
	const late = async () => {
		const answer = await fetch(location.href, { headers: { accept: 'text/html', ...click() } });
		const again = answer.ok ? parse(await answer.text()).querySelector('form[data-autosave]') : null;
		const now = again?.querySelector('input[name=etag]')?.getAttribute('value') ?? '';
		if (!tag || !again || tag.value === now || written() !== loaded || busy) return;
		clearTimeout(looking);
		tag.value = now;
		areas.forEach((area) => { area.value = /** @type {HTMLTextAreaElement | null} */ (again.querySelector(`textarea[name=${area.name}]`))?.value ?? area.value; });
		stored = written();
		areas[0]?.dispatchEvent(new Event('input', { bubbles: true }));
	};
	let looking = 0;
	const look = (/** @type {number} */ after) => { looking = setTimeout(() => { if (after < 20000 && written() === loaded) { look(2 * after); late().catch(() => {}); } }, after); };
	if (behind?.startsWith(`${location.pathname} `) && behind !== mark(loaded)) look(300);
	// Another form may sign the person out: what was typed goes before it.
	document.addEventListener('submit', (event) => { if (event.target !== form) save(); });
	document.addEventListener('visibilitychange', () => {
		if (document.visibilityState !== 'hidden') return;
		save();
		if (busy) sessionStorage.setItem('saving', mark(written()));
	});
	// What is sent needs no draft; one that is being saved must be there before it is deleted.
	let waits = false;
	form.addEventListener('submit', (event) => {
		if (waits) { event.preventDefault(); event.stopImmediatePropagation(); return; }
		sent = true;
		if (!busy) return;
		event.preventDefault();
		event.stopImmediatePropagation();
		waits = true;
		busy.finally(() => { waits = false; form.requestSubmit(event.submitter); });
	});
	returned(form, () => { sent = false; });
};

/** Shows what is found by words while they are typed, from the page that has it.
 * @param {HTMLFormElement} form */
const foundWhileTyping = (form) => {
	const place = byId(String(form.dataset.found)), field = /** @type {HTMLInputElement} */ (form.elements.namedItem('q'));
	let timer = 0, asked = new AbortController();
	const ask = async () => {
		asked.abort();
		asked = new AbortController();
		const said = byId('found-said');
		if (!place || !said) return;
		if (field.value.trim().length < 2) { place.replaceChildren(); said.textContent = ''; return; }
		const body = new URLSearchParams([...new FormData(form)].map(([name, value]) => [name, String(value)]));
		const answer = await fetch(form.action, { method: 'POST', headers: click(), body, redirect: 'manual', signal: asked.signal });
		if (!answer.ok) return;
		const page = parse(await answer.text());
		place.replaceChildren(...[...page.querySelector('#found')?.childNodes ?? []].map((node) => document.importNode(node, true)));
		said.textContent = page.querySelector('#found-said')?.textContent ?? '';
	};
	field.addEventListener('input', () => {
		clearTimeout(timer);
		// What does not come is asked for by the button.
		timer = setTimeout(() => { ask().catch(() => {}); }, 300);
	});
};

/** Asks before a page is left with what was typed in a form that nothing saves: the browser's own
 * question, in its words. @param {HTMLFormElement} form */
const guarded = (form) => {
	let sent = false;
	const fields = /** @type {(HTMLInputElement | HTMLTextAreaElement)[]} */ ([...form.querySelectorAll('textarea, input:not([type=hidden], [type=checkbox], [type=radio])')]);
	form.addEventListener('submit', () => { sent = true; });
	returned(form, () => { sent = false; });
	addEventListener('beforeunload', (event) => {
		const typed = fields.some((field) => field.value !== field.defaultValue || 'unstored' in form.dataset && field.value);
		if (typed && !sent) event.preventDefault();
	});
};

/** The guide's window: modal, and Esc closes it to write. @param {HTMLDialogElement} dialog */
const proposed = (dialog) => {
	dialog.removeAttribute('open');
	dialog.showModal();
	// At a link, which would have the focus, screen readers begin after what is proposed.
	byId('ph')?.focus();
	dialog.addEventListener('cancel', () => {
		navigator.sendBeacon(String(dialog.dataset.outcome).replace(/message$/, 'service'), new URLSearchParams({ ...click(), issue: 'ecrire' }));
	});
	dialog.addEventListener('close', () => { document.title = String(dialog.dataset.title); byId('text')?.focus(); });
};

/** A form is sent once; the server makes one message of two clicks in any case. @param {HTMLFormElement} form */
const once = (form) => {
	let sent = false;
	form.addEventListener('submit', (event) => {
		if (sent) { event.preventDefault(); return; }
		sent = true;
		each('button', (button) => { if (form.contains(button)) button.setAttribute('aria-disabled', 'true'); });
	});
	returned(form, () => { sent = false; form.querySelectorAll('button').forEach((button) => button.removeAttribute('aria-disabled')); });
};

/** Whoever holds a conversation keeps it while they write: it is claimed again, every five
 * minutes at most, if the page is seen and something was typed since. @param {HTMLFormElement} form */
const claimed = (form) => {
	let typed = false, last = Date.now();
	const renew = async () => {
		if (!typed || document.visibilityState !== 'visible' || Date.now() - last < 300000) return;
		typed = false;
		last = Date.now();
		await fetch(String(form.dataset.claim), { method: 'POST', headers: click(), body: new URLSearchParams({ faire: 'renouveler' }), redirect: 'manual' }).catch(() => { typed = true; });
	};
	form.addEventListener('input', () => { typed = true; renew(); });
	setInterval(renew, 60000);
};

/** What is new is announced; nothing moves until the reader asks. A screen reader speaks it
 * because what it appears in was there before and is live. @param {HTMLElement} news @param {string} path */
const live = (news, path) => {
	let first = true, wait = 1000, timer = 0;
	/** What a list shows. @param {Document} page */
	const standing = (page) => [...page.querySelectorAll('main .list a, main .list .tag, main .list .badge')].map((el) => `${el.getAttribute('href')} ${el.textContent}`).join('\n');
	const shown = standing(document);
	const show = () => {
		if (!news.hidden) return;
		news.hidden = false;
		const link = document.createElement('a');
		link.href = news.dataset.here ?? location.pathname + location.search;
		link.textContent = String(news.dataset.link);
		news.replaceChildren(`${news.dataset.text} `, link);
	};
	/** A hint does not say that this list has changed, and a stream that was cut begins with one. */
	const compare = async () => {
		const answer = await fetch(location.href, { headers: { accept: 'text/html', ...click() } });
		if (answer.ok && standing(parse(await answer.text())) !== shown) show();
	};
	/** On a conversation's page, its new messages are added at the end. */
	const fetchThread = async () => {
		const answer = await fetch(String(news.dataset.here), { headers: { accept: 'text/html', ...click() } });
		const thread = byId('thread');
		if (!answer.ok || !thread) throw new Error(String(answer.status));
		const page = parse(await answer.text());
		let added = 0;
		page.querySelectorAll('#thread > li').forEach((li) => {
			if (byId(li.id)) return;
			thread.append(document.importNode(li, true));
			added += 1;
		});
		for (const part of ['main .tag', '.timeline', '#hands', '#expected']) {
			const now = page.querySelector(part), before = document.querySelector(part);
			if (now && before) before.replaceWith(document.importNode(now, true));
		}
		if (!added) return;
		news.hidden = false;
		news.textContent = String(news.dataset.text);
	};
	const connect = () => {
		const source = new EventSource(path);
		const heard = (/** @type {MessageEvent} */ event) => {
			wait = 1000;
			const told = JSON.parse(event.data);
			const badge = byId('unread');
			if (badge && 'unread' in told) {
				badge.hidden = told.unread < 1;
				if (badge.firstChild) badge.firstChild.textContent = String(told.unread);
				each('#unread .vh', (/** @type {HTMLElement} */ words) => { words.textContent = ` ${counting(words, 'unread', told.unread)}`; });
			}
			if (first) { first = false; return; }
			const { id, here } = news.dataset;
			if (here) {
				if (told.id === id || !told.id) fetchThread().catch(() => { if (told.id) show(); });
			} else if (!id && !timer && news.hidden) {
				timer = setTimeout(() => { timer = 0; compare().catch(() => {}); }, 1000 + Math.random() * 1000);
			}
		};
		source.addEventListener('conversation', heard);
		source.addEventListener('queue', heard);
		source.onerror = () => {
			if (source.readyState !== EventSource.CLOSED) return;
			setTimeout(connect, wait + Math.random() * wait);
			wait = Math.min(wait * 2, 60000);
		};
	};
	connect();
};

// The one way from text to nodes: this site's own pages, never put in place as they are.
const policy = 'trustedTypes' in window
	? /** @type {any} */ (window).trustedTypes.createPolicy('own-pages', { createHTML: (/** @type {string} */ text) => text }) : undefined;
/** @param {string} text */
const parse = (text) => new DOMParser().parseFromString(policy ? policy.createHTML(text) : text, 'text/html');

/** Warns two minutes before the session ends. The server is asked first, and again while the
 * warning stands: another tab may have prolonged it. */
const session = () => {
	const warning = byId('ending'), text = warning?.querySelector('p'), stay = warning?.querySelector('button');
	const left = Number(document.body.dataset.secondsLeft);
	if (!warning || !text || !stay || !left) return;
	let timer = 0;
	const after = (/** @type {number} */ seconds) => { clearTimeout(timer); timer = setTimeout(ask, seconds * 1000); };
	/** Says that it ends, or what else there is to say. @param {string} [more] */
	const warn = (more) => {
		if (more && text.textContent !== more) text.textContent = more;
		stay.hidden = Boolean(more);
		warning.hidden = false;
	};
	const ask = async (method = 'GET') => {
		const answer = await fetch('/session', { method, headers: click() }).catch(() => undefined);
		if (answer?.status === 401) { warn(warning.dataset.over); return; }
		after(30);
		if (!answer?.ok) { warn(); return; }
		const { secondsLeft, secondsMost } = await answer.json();
		if (secondsLeft <= 120) { warn(secondsMost <= 120 ? warning.dataset.last : ''); return; }
		warning.hidden = true;
		after(secondsLeft - 120);
	};
	stay.addEventListener('click', () => { ask('POST'); });
	after(Math.max(0, left - 120));
};

/** Single-key shortcuts of the console; off in fields, and when switched off. */
const shortcuts = () => {
	if (!document.querySelector('[data-keys=true]')) return;
	const links = () => /** @type {HTMLElement[]} */ ([...document.querySelectorAll('.item h2 a')]);
	addEventListener('keydown', (event) => {
		const at = /** @type {HTMLElement} */ (event.target);
		if (event.ctrlKey || event.metaKey || event.altKey || at.closest('input, textarea, select, [contenteditable]')) return;
		const list = links(), here = list.indexOf(/** @type {HTMLElement} */ (document.activeElement));
		const acts = {
			j: () => list[Math.min(here + 1, list.length - 1)]?.focus(),
			k: () => list[Math.max(here - 1, 0)]?.focus(),
			o: () => list[here]?.click(),
			c: () => byId('claim')?.click(),
			r: () => byId('text')?.focus(),
			'/': () => (byId('q') ?? byId('file'))?.focus(),
		};
		const act = acts[/** @type {keyof typeof acts} */ (event.key)];
		if (act) { event.preventDefault(); act(); }
	});
};

each('[data-found]', foundWhileTyping);
each('textarea[name]', cleaned);
each('[data-count]', counted);
each('[data-autosave]', autosaved);
each('dialog#proposal', proposed);
each('form[data-once]', once);
each('form[data-claim]', claimed);
each('form[data-guard]', guarded);
each('[data-print]', (/** @type {HTMLElement} */ button) => { button.hidden = false; button.addEventListener('click', () => print()); });
// What a screen reader has to say first: what is to be corrected, or else what was done.
each('#done', (/** @type {HTMLElement} */ done) => done.focus());
each('#faults', (/** @type {HTMLElement} */ faults) => faults.focus());
if (location.hash === '#text') byId('text')?.focus();
each('#news', (/** @type {HTMLElement} */ news) => live(news, location.pathname.startsWith('/agent') ? '/agent/evenements' : '/evenements'));
if (!byId('news') && byId('unread')) {
	const none = document.createElement('p');
	none.dataset.id = 'none';
	live(none, '/evenements');
}
const offline = byId('offline');
if (offline) {
	const tell = () => { offline.hidden = navigator.onLine; };
	addEventListener('online', tell);
	addEventListener('offline', tell);
	tell();
}
session();
shortcuts();
