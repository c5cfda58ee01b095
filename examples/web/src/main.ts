import { explain, h, show, type View } from './dom';
import { list, read } from './messages';
import { comeBack, session, signIn, signOut } from './signin';
import { write } from './write';

/** page is what the address names. */
async function page(): Promise<View> {
	if (!session()) {
		return ['Ma messagerie', h('p', {}, 'Écrivez à votre caisse, et lisez ses réponses.'),
			h('p', {}, h('button', { type: 'button', click: () => void signIn().catch(failed) }, 'Se connecter'))];
	}
	const [, where = '', which = '', what = ''] = location.hash.split('/');
	switch (where) {
		case 'ecrire': return write(which);
		case 'messages': return read(which, what === 'envoye');
	}
	return list();
}

function head(): void {
	const signedIn = session();
	document.querySelector('#top')?.replaceChildren(h('a', { href: '#/' }, 'Ma messagerie'), ...(signedIn ? [h('span', {}, `${signedIn.name} `,
		h('button', { type: 'button', class: 'plain', click: () => void signOut().catch(failed) }, 'Se déconnecter'))] : []));
}

const failed = (error: unknown): void => show(['Un problème est survenu', h('p', { role: 'alert' }, explain(error)),
	h('p', {}, h('button', { type: 'button', click: () => location.reload() }, 'Réessayer'))]);

// Of two pages that are asked for quickly, only the later one is shown.
let asked = 0;
async function turn(): Promise<void> {
	const now = asked += 1;
	head();
	try {
		const view = await page();
		if (now === asked) show(view);
	} catch (error) {
		if (now === asked) failed(error);
	}
}

addEventListener('hashchange', () => void turn());
await comeBack().catch(() => sessionStorage.removeItem('session'));
await turn();
