type Attributes = Record<string, string | boolean | ((event: Event) => void)>;

/** h makes an element: a function listens, true is an attribute without a value, false none. Text is never HTML. */
export function h<K extends keyof HTMLElementTagNameMap>(name: K, attributes: Attributes = {}, ...children: (Node | string)[]): HTMLElementTagNameMap[K] {
	const element = document.createElement(name);
	for (const [key, value] of Object.entries(attributes)) {
		if (typeof value === 'function') element.addEventListener(key, value);
		else if (value !== false) element.setAttribute(key, value === true ? '' : value);
	}
	element.append(...children);
	return element;
}

/** View is a page: its heading and what is below. */
export type View = [title: string, ...content: (Node | string)[]];

/** show replaces the page. The heading has the focus, so that who listens hears where they are. */
export function show([title, ...content]: View): void {
	const heading = h('h1', { tabindex: '-1' }, title);
	document.title = `${title} – Ma messagerie`;
	document.querySelector('#page')?.replaceChildren(heading, ...content);
	heading.focus();
}

/** submits makes a form's listener that lets it be sent once at a time. */
export function submits(send: (form: HTMLFormElement) => Promise<void> | void): (event: Event) => void {
	let under = false;
	return (event) => {
		event.preventDefault();
		if (under || !(event.currentTarget instanceof HTMLFormElement)) return;
		const form = event.currentTarget;
		under = true;
		form.setAttribute('aria-busy', 'true');
		void Promise.resolve(send(form)).catch((error: unknown) => tell(form, explain(error))).finally(() => {
			under = false;
			form.removeAttribute('aria-busy');
		});
	};
}

/** tell says at the head of a form what is wrong, aloud. */
export function tell(form: HTMLElement, text: string): void {
	form.querySelector('[role=alert]')?.remove();
	form.prepend(h('p', { role: 'alert', class: 'card bad' }, text));
}

/** explain is an error in words for people: what the gateway refused, or that it did not answer. */
export function explain(error: unknown): string {
	return error instanceof Refusal ? error.message : 'La messagerie ne répond pas. Rien n’est perdu : réessayez dans un instant.';
}

/** Refusal is an error whose message may be shown. */
export class Refusal extends Error {}
