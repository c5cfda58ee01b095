// Writing: profile, theme, topic, reason, the service that may answer faster, the text,
// the recap. Each step is a page of its own, so that the back button goes one step back.
import { h, submits, tell, type View } from './dom';
import { gateway, taken, type Audience, type Service, type Taxonomy } from './gateway';
import { Kept } from './kept';
import { session } from './signin';
import { count, wrong } from './text';

interface Draft {
	audience: Audience | '';
	version: number;
	theme: string;
	topic: string;
	reason: string;
	text: string;
}

const draft = new Kept<Draft>('draft', { audience: '', version: 0, theme: '', topic: '', reason: '', text: '' });

const profiles: Partial<Record<Audience, string>> = { PARTICULIER: 'Particulier', EXPLOITANT: 'Exploitant', EMPLOYEUR: 'Employeur' };
const isAudience = (profile: string): profile is Audience => profile in profiles;

const go = (step: string): void => { location.hash = `#/ecrire/${step}`; };

/** write is one step; one that is too early leads to the first that has no answer. */
export async function write(step: string): Promise<View> {
	const mine = (session()?.profiles ?? []).filter(isAudience);
	const only = mine.length === 1 ? mine[0] : undefined;
	if (only) draft.change({ audience: only });
	const { audience, theme } = draft.get();
	if (!audience || step === 'profil') {
		return ask('Quel profil est concerné ?', mine.map((code) => ({ code, label: profiles[code] ?? code })), audience, (code) => {
			if (isAudience(code)) draft.change({ audience: code, theme: '', topic: '', reason: '' });
			go('theme');
		});
	}
	const taxonomy = await taken(gateway.GET('/v1/taxonomy', { params: { query: { audience } } }));
	switch (theme ? step : 'theme') {
		case 'sujet': return topics(taxonomy);
		case 'motif': return reasons(taxonomy);
		case 'texte': return text(taxonomy);
		case 'recapitulatif': return recap(taxonomy);
	}
	return ask('Quel est le thème de votre message ?', taxonomy.themes ?? [], theme, (code) => {
		if (code !== theme) draft.change({ theme: code, topic: '', reason: '' });
		draft.change({ version: taxonomy.version ?? 0 });
		go(chosen(taxonomy).theme?.topics?.length ? 'sujet' : 'texte');
	});
}

/** chosen are the entries of the taxonomy that the draft names. */
function chosen(taxonomy: Taxonomy) {
	const { theme: themeCode, topic: topicCode, reason: reasonCode } = draft.get();
	const theme = taxonomy.themes?.find(({ code }) => code === themeCode);
	const topic = theme?.topics?.find(({ code }) => code === topicCode);
	const reason = topic?.reasons?.find(({ code }) => code === reasonCode);
	return { theme, topic, reason };
}

function topics(taxonomy: Taxonomy): View {
	const { topic } = draft.get();
	return ask('Quel est le sujet ?', chosen(taxonomy).theme?.topics ?? [], topic, (code) => {
		if (code !== topic) draft.change({ topic: code, reason: '' });
		go(chosen(taxonomy).topic?.reasons?.length ? 'motif' : 'texte');
	});
}

function reasons(taxonomy: Taxonomy): View {
	return ask('Pour quel motif ?', chosen(taxonomy).topic?.reasons ?? [], draft.get().reason, (code) => {
		draft.change({ reason: code });
		go('texte');
	});
}

/** ask is a page of radios. Nothing is chosen before. */
function ask(question: string, options: { code?: string; label?: string; help?: string }[], before: string, next: (code: string) => void): View {
	const choices = options.map(({ code = '', label = '', help = '' }) => h('label', { class: 'choice' },
		h('input', { type: 'radio', name: 'choice', value: code, checked: code === before }), ' ', label,
		...(help ? [h('span', { class: 'soft' }, ` – ${help}`)] : [])));
	return [question, h('form', {
		submit: submits((form) => {
			const answer = new FormData(form).get('choice');
			if (typeof answer === 'string') next(answer);
			else tell(form, 'Choisissez une réponse.');
		}),
	}, h('fieldset', {}, h('legend', {}, 'Votre choix'), ...choices), h('button', {}, 'Continuer'))];
}

async function text(taxonomy: Taxonomy): Promise<View> {
	const { min = 0, max = 0 } = taxonomy.textLimits ?? {};
	const used = h('p', { id: 'count', class: 'soft' });
	const area = h('textarea', { id: 'text', name: 'text', 'aria-describedby': 'count' });
	area.value = draft.get().text;
	const counted = (): void => {
		draft.change({ text: area.value });
		used.textContent = `${count(area.value)} caractères, de ${min} à ${max}`;
	};
	area.addEventListener('input', counted);
	counted();
	return ['Votre message', ...(await suggestion()), h('form', {
		submit: submits((form) => {
			const fault = wrong(area.value, min, max);
			area.setAttribute('aria-invalid', String(fault !== ''));
			if (fault) tell(form, fault);
			else go('recapitulatif');
		}),
	}, h('label', { for: 'text' }, 'Votre texte'), area, used, h('button', {}, 'Continuer'))];
}

/** suggestion offers the online services that may answer faster, if there are any. */
async function suggestion(): Promise<Node[]> {
	const { audience, theme, topic, reason } = draft.get();
	if (!audience) return [];
	const selection = { audience, theme, ...(topic && { topic }), ...(reason && { reason }) };
	const { services = [] } = await taken(gateway.GET('/v1/suggestion', { params: { query: selection } }));
	// What became of an offer is counted, without the member. It may fail unseen.
	const outcome = ({ code = '' }: Service, outcome: 'SHOWN' | 'FOLLOWED'): void => {
		void gateway.POST('/v1/suggestion:outcome', { params: { header: { 'Idempotency-Key': crypto.randomUUID() } }, body: { ...selection, service: code, outcome }, keepalive: true }).catch(() => undefined);
	};
	return services.map((service) => {
		outcome(service, 'SHOWN');
		return h('aside', { class: 'card', 'aria-label': 'Service en ligne' },
			h('p', {}, 'Un service en ligne répond peut-être plus vite :'),
			h('p', {}, h('a', { href: service.url ?? '', rel: 'noreferrer', click: () => outcome(service, 'FOLLOWED') }, service.name ?? '')));
	});
}

function recap(taxonomy: Taxonomy): View {
	const { theme, topic, reason } = chosen(taxonomy);
	const written = draft.get();
	const line = (name: string, value: string | undefined, step: string): Node[] => value === undefined ? [] : [
		h('dt', {}, name), h('dd', { class: 'said' }, value, ' ', h('a', { href: `#/ecrire/${step}` }, `Modifier le ${name.toLowerCase()}`))];
	return ['Vérifiez votre message', h('dl', { class: 'card' },
		...line('Thème', theme?.label, 'theme'), ...line('Sujet', topic?.label, 'sujet'),
		...line('Motif', reason?.label, 'motif'), ...line('Message', written.text, 'texte')),
	h('form', { submit: submits(send) }, h('button', {}, 'Envoyer le message'))];
}

/** send submits the draft under its key. Until an answer has come the draft stays. */
async function send(): Promise<void> {
	const { key, audience, version, theme, topic, reason, text } = draft.get();
	if (!audience) return go('profil');
	const { conversation } = await taken(gateway.POST('/v1/conversations', {
		params: { header: { 'Idempotency-Key': key } },
		body: { audience, theme, ...(topic && { topic }), ...(reason && { reason }), taxonomyVersion: version, text },
	}));
	draft.forget();
	location.hash = `#/messages/${conversation?.id ?? ''}/envoye`;
}
