// Reading: the list, one conversation, and what a member adds to it.
import { h, submits, tell, type View } from './dom';
import { gateway, taken, type Conversation } from './gateway';
import { Kept } from './kept';
import { count, date, wrong } from './text';

const statuses: Partial<Record<NonNullable<Conversation['status']>, string>> = {
	SENT: 'Envoyé', IN_PROGRESS: 'En cours', PARTLY_ANSWERED: 'Réponse partielle', ANSWERED: 'Répondu',
	WAITING_FOR_MEMBER: 'En attente de votre réponse', REOPENED: 'Rouvert', CLOSED: 'Clos',
};

const stands = ({ status }: Conversation): string => (status && statuses[status]) ?? '';
const pageSize = 20;
// The bounds of a first message are also a follow-up's.
const min = 1, max = 750; // of a further message

/** list is the member's conversations, the latest first, page by page. */
export async function list(): Promise<View> {
	const items = h('ul', { class: 'list' });
	const more = h('button', { type: 'button', class: 'plain' }, 'Voir la suite');
	// A token is for this list alone, and empty on the last page.
	const next = async (pageToken: string): Promise<void> => {
		const page = await taken(gateway.GET('/v1/conversations', { params: { query: { pageSize, ...(pageToken && { pageToken }) } } }));
		items.append(...(page.conversations ?? []).map(item));
		const token = page.nextPageToken ?? '';
		more.hidden = token === '';
		more.onclick = () => void next(token);
	};
	await next('');
	return ['Vos messages', h('p', {}, h('a', { href: '#/ecrire', class: 'button' }, 'Écrire un message')),
		items.childElementCount > 0 ? items : h('p', {}, 'Vous n’avez pas encore de message.'), more];
}

function item(conversation: Conversation): HTMLLIElement {
	const { id = '', reference = '', theme, createTime, unread = false } = conversation;
	return h('li', { class: 'card' }, h('a', { href: `#/messages/${id}` }, theme?.label ?? reference),
		h('p', { class: 'soft' }, `${reference}, ${date(createTime)}`),
		h('p', {}, stands(conversation), ...(unread ? [' – ', h('strong', {}, 'non lu')] : [])));
}

/** read is one conversation. What is shown counts as read, and a reply that came after it does not. */
export async function read(id: string, sent: boolean): Promise<View> {
	const { conversation } = await taken(gateway.GET('/v1/conversations/{id}', { params: { path: { id } } }));
	const { messages } = conversation;
	const last = messages.at(-1)?.id;
	if (conversation.unread && last) {
		await taken(gateway.POST('/v1/conversations/{id}:markRead', { params: { path: { id } }, body: { messageId: last } }));
	}
	const thread = messages.map(({ author, text = '', createTime }) => h('article', { class: 'card' },
		h('p', { class: 'soft' }, `${author === 'MEMBER' ? 'Vous' : 'Votre caisse'}, ${date(createTime)}`), h('p', { class: 'said' }, text)));
	return [conversation.theme?.label ?? 'Conversation',
		...(sent ? [h('p', { role: 'status', class: 'card' }, 'Votre message est parti. Un accusé de réception vous est envoyé.')] : []),
		h('p', {}, 'Référence ', h('strong', {}, conversation.reference), ` – ${stands(conversation)}`),
		...thread, ...(conversation.status === 'CLOSED' ? [] : [followUp(id)]), h('p', {}, h('a', { href: '#/' }, 'Tous vos messages'))];
}

/** followUp adds to a conversation, with a key of its own. */
function followUp(id: string): HTMLFormElement {
	const kept = new Kept(`followUp ${id}`, { text: '' });
	const used = h('p', { id: 'count', class: 'soft' });
	const area = h('textarea', { id: 'text', name: 'text', 'aria-describedby': 'count' });
	area.value = kept.get().text;
	const counted = (): void => {
		kept.change({ text: area.value });
		used.textContent = `${count(area.value)} caractères, de ${min} à ${max}`;
	};
	area.addEventListener('input', counted);
	counted();
	return h('form', {
		submit: submits(async (form) => {
			const fault = wrong(area.value, min, max);
			area.setAttribute('aria-invalid', String(fault !== ''));
			if (fault) return tell(form, fault);
			const { key, text } = kept.get();
			await taken(gateway.POST('/v1/conversations/{id}:followUp', { params: { path: { id }, header: { 'Idempotency-Key': key } }, body: { text } }));
			kept.forget();
			dispatchEvent(new HashChangeEvent('hashchange'));
		}),
	}, h('label', { for: 'text' }, 'Compléter votre message'), area, used, h('button', {}, 'Envoyer'));
}
