// Package journey walks through the guide's seven steps as people do, over HTTP
// alone: it needs the addresses of a gateway, an OIDC provider with personas and
// a development inbox, wherever they run.
package journey

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
)

// Places are the addresses of a running system: base URLs without a final slash.
// The defaults are those of docker-compose.yml and of make run.
type Places struct {
	Web     string `env:"WEB_URL" envDefault:"http://localhost:8000"`
	Gateway string `env:"GATEWAY_URL" envDefault:"http://localhost:8080"`
	OIDC    string `env:"OIDC_URL" envDefault:"http://localhost:5556"`
	Inbox   string `env:"INBOX_URL" envDefault:"http://localhost:8025"`
}

// traveller is one persona on the way through the steps.
type traveller struct {
	persona, audience string
	// taken is a selection whose online service is used instead of writing,
	// changed one that is given up for another, written the one written under.
	taken, changed, written Selection
	text, reply             string
}

var travellers = []traveller{
	{
		persona: "jeanne", audience: "PARTICULIER",
		taken:   Selection{"PARTICULIER", "sante", "carte-vitale", "perte-vol"},
		changed: Selection{"PARTICULIER", "famille-logement", "aides-logement", "demenagement"},
		written: Selection{"PARTICULIER", "famille-logement", "allocations-familiales", "paiement-absent"},
		text:    "Bonjour,\r\nje n'ai pas reçu le paiement de mes allocations de novembre. Pouvez-vous m'aider ?",
		reply:   "Bonjour, votre paiement est parti ce matin. Il sera sur votre compte sous deux jours.",
	},
	{
		persona: "paul", audience: "EXPLOITANT",
		taken:   Selection{"EXPLOITANT", "exploitation", "parcelles", "releve"},
		changed: Selection{"EXPLOITANT", "exploitation", "difficultes", "moduler"},
		written: Selection{"EXPLOITANT", "exploitation", "appels", "moyen-paiement"},
		text:    "Bonjour, le prélèvement de mon appel de cotisations a été refusé par ma banque. Que dois-je faire ?",
		reply:   "Bonjour, vous pouvez payer par télérèglement jusqu'au 30. Aucune majoration ne sera appliquée.",
	},
	{
		persona: "tilleuls", audience: "EMPLOYEUR",
		taken:   Selection{"EMPLOYEUR", "employeur", "embauche", ""},
		changed: Selection{"EMPLOYEUR", "employeur", "tesa", ""},
		written: Selection{"EMPLOYEUR", "employeur", "dsn", ""},
		text:    "Bonjour, une anomalie est signalée sur notre DSN d'octobre. Pouvez-vous nous indiquer la correction attendue ?",
		reply:   "Bonjour, il manque le numéro de contrat du bloc 40. Une DSN annule-et-remplace suffit.",
	},
}

// errNotSo is the fault of a step that went otherwise than it must.
var errNotSo = errors.New("not as the guide says")

// guide is one run.
type guide struct {
	places Places
	out    io.Writer
	agent  Client
}

// Run walks through the steps for a particulier, an exploitant and an employeur,
// each of the online service's three ways out included, then answers as an
// agent. It writes each step and every mail and SMS that left to out, and returns
// the first thing that is not as it must be.
func Run(ctx context.Context, places Places, out io.Writer) error {
	g := &guide{places: places, out: out}
	var err error
	if g.agent, err = g.as(ctx, "claire"); err != nil {
		return err
	}
	for _, who := range travellers {
		if err := g.walk(ctx, who); err != nil {
			return fmt.Errorf("%s (%s): %w", who.persona, who.audience, err)
		}
	}
	g.say("\nTout est arrivé : trois messages, trois accusés de réception, trois SMS, trois réponses, trois avis de réponse.")
	return nil
}

func (g *guide) say(format string, args ...any) { fmt.Fprintf(g.out, format+"\n", args...) }

// as signs a persona in.
func (g *guide) as(ctx context.Context, persona string) (Client, error) {
	answer, err := Client{Base: g.places.OIDC}.Do(ctx, http.MethodGet, "/dev/token?as="+persona, nil)
	if err != nil {
		return Client{}, fmt.Errorf("signing in %s: %w", persona, err)
	}
	if answer.Status != http.StatusOK {
		return Client{}, fmt.Errorf("signing in %s: %d %s", persona, answer.Status, answer.Body)
	}
	return Client{Base: g.places.Gateway, Token: strings.TrimSpace(string(answer.Body))}, nil
}

func (g *guide) walk(ctx context.Context, who traveller) error {
	member, err := g.as(ctx, who.persona)
	if err != nil {
		return err
	}
	g.say("\n=== %s, %s", who.persona, who.audience)
	tree, err := g.home(ctx, member, who)
	if err != nil {
		return err
	}
	if err := g.choose(ctx, member, who, tree); err != nil {
		return err
	}
	sent, err := g.write(ctx, member, who, tree)
	if err != nil {
		return err
	}
	if err := g.acknowledged(ctx, sent); err != nil {
		return err
	}
	if err := g.answer(ctx, member, who, sent); err != nil {
		return err
	}
	return g.hideAndShow(ctx, member, sent)
}

type page struct {
	Conversations []Conversation
	UnreadCount   int
}

// home is step 1.
func (g *guide) home(ctx context.Context, member Client, who traveller) (Taxonomy, error) {
	list, err := call[page](ctx, member, http.MethodGet, "/v1/conversations", nil)
	if err != nil {
		return Taxonomy{}, err
	}
	tree, err := call[Taxonomy](ctx, member, http.MethodGet, "/v1/taxonomy?audience="+who.audience, nil)
	if err != nil {
		return tree, err
	}
	g.say("1. Accueil : écrire un message · envoyer un document (%s) · %d échange(s) précédent(s)", tree.DocumentDepositURL, len(list.Conversations))
	if tree.DocumentDepositURL == "" || len(tree.Themes) == 0 {
		return tree, fmt.Errorf("%w: no document service or no theme", errNotSo)
	}
	return tree, nil
}

// choose is steps 2 and 3: a selection whose service is used, one that is
// changed, and the one that is written under.
func (g *guide) choose(ctx context.Context, member Client, who traveller, tree Taxonomy) error {
	for _, way := range []struct {
		selection Selection
		out       string
	}{
		{who.taken, "utiliser le service en ligne : aucun message à écrire"},
		{who.changed, "fermer et changer la sélection"},
		{who.written, "fermer et écrire le message"},
	} {
		labels, err := tree.labels(way.selection)
		if err != nil {
			return err
		}
		g.say("2. Sélection : %s", labels)
		type suggestion struct{ Services []OnlineService }
		found, err := call[suggestion](ctx, member, http.MethodGet, "/v1/suggestion?"+way.selection.query(), nil)
		if err != nil {
			return err
		}
		if len(found.Services) == 0 {
			return fmt.Errorf("%w: no online service for %s", errNotSo, labels)
		}
		g.say("3. Service en ligne proposé : « %s » (%s) → %s", found.Services[0].Name, found.Services[0].URL, way.out)
	}
	return nil
}

// write is steps 4 and 5: too short a text is refused, the message is sent, and
// a second click makes no second one.
func (g *guide) write(ctx context.Context, member Client, who traveller, tree Taxonomy) (Conversation, error) {
	short := Submission{who.written, tree.Version, "Bonjour !"}
	refused, err := member.Do(ctx, http.MethodPost, "/v1/conversations", short, "Idempotency-Key", uuid.NewString())
	if err != nil {
		return Conversation{}, err
	}
	if refused.Status != http.StatusBadRequest || refused.Problem().Violation() != "text BODY_TOO_SHORT" {
		return Conversation{}, fmt.Errorf("%w: nine characters answer %d %s", errNotSo, refused.Status, refused.Body)
	}
	g.say("4. Rédaction : « %s » est refusé (%s), puis le message est écrit", short.Text, refused.Problem().Violation())

	type recap struct{ Conversation Conversation }
	key := uuid.NewString()
	full := Submission{who.written, tree.Version, who.text}
	first, err := call[recap](ctx, member, http.MethodPost, "/v1/conversations", full, "Idempotency-Key", key)
	if err != nil {
		return Conversation{}, err
	}
	again, err := call[recap](ctx, member, http.MethodPost, "/v1/conversations", full, "Idempotency-Key", key)
	if err != nil {
		return Conversation{}, err
	}
	sent := first.Conversation
	if again.Conversation.ID != sent.ID || sent.Status != "SENT" || len(sent.Messages) != 1 {
		return sent, fmt.Errorf("%w: sent %+v, again %s", errNotSo, sent, again.Conversation.ID)
	}
	g.say("5. Récapitulatif puis confirmation : référence %s, %s (second clic : la même)", sent.Reference, sent.Status)
	return sent, nil
}

// acknowledged is step 6 and the SMS of step 5.
func (g *guide) acknowledged(ctx context.Context, sent Conversation) error {
	mails, err := g.await(ctx, sent.Reference, []string{"EMAIL", "SMS"})
	if err != nil {
		return fmt.Errorf("acknowledgement: %w", err)
	}
	g.show("6.", mails)
	return nil
}

// answer is step 7: claimed, answered, announced by e-mail, read.
func (g *guide) answer(ctx context.Context, member Client, who traveller, sent Conversation) error {
	type wrapped struct{ Conversation Conversation }
	queue, err := call[page](ctx, g.agent, http.MethodGet, "/v1/agent/conversations?pageSize=100&theme="+who.written.Theme, nil)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(queue.Conversations, func(c Conversation) bool { return c.ID == sent.ID }) {
		return fmt.Errorf("%w: the agent's queue does not hold %s", errNotSo, sent.Reference)
	}
	path := "/v1/agent/conversations/" + sent.ID
	claimed, err := call[wrapped](ctx, g.agent, http.MethodPost, path+":claim", struct{}{})
	if err != nil {
		return err
	}
	reply := map[string]any{"text": who.reply, "final": true, "lastMessageId": claimed.Conversation.LastMessageID}
	if _, err := call[wrapped](ctx, g.agent, http.MethodPost, path+":reply", reply, "Idempotency-Key", uuid.NewString()); err != nil {
		return err
	}
	mails, err := g.await(ctx, sent.Reference, []string{"EMAIL", "EMAIL", "SMS"})
	if err != nil {
		return fmt.Errorf("reply notification: %w", err)
	}
	g.say("7. Une conseillère prend en charge et répond")
	g.show("7.", mails[len(mails)-1:])
	read, err := call[wrapped](ctx, member, http.MethodGet, "/v1/conversations/"+sent.ID, nil)
	if err != nil {
		return err
	}
	got := read.Conversation
	if got.Status != "ANSWERED" || !got.Unread || len(got.Messages) != 2 || got.Messages[1].Text != who.reply {
		return fmt.Errorf("%w: the member sees %+v", errNotSo, got)
	}
	marked, err := call[wrapped](ctx, member, http.MethodPost, "/v1/conversations/"+sent.ID+":markRead", struct{}{})
	if err != nil {
		return err
	}
	if marked.Conversation.Unread {
		return fmt.Errorf("%w: still unread", errNotSo)
	}
	g.say("   Lu par l'usager : « %s »", got.Messages[1].Text)
	return nil
}

// hideAndShow is step 1, part 3.
func (g *guide) hideAndShow(ctx context.Context, member Client, sent Conversation) error {
	for _, step := range []struct {
		verb   string
		hidden bool
	}{{":hide", true}, {":show", false}} {
		if _, err := call[any](ctx, member, http.MethodPost, "/v1/conversations/"+sent.ID+step.verb, struct{}{}); err != nil {
			return err
		}
		list, err := call[page](ctx, member, http.MethodGet, fmt.Sprintf("/v1/conversations?hidden=%v&pageSize=100", step.hidden), nil)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(list.Conversations, func(c Conversation) bool { return c.ID == sent.ID }) {
			return fmt.Errorf("%w: after %s it is not in the list hidden=%v", errNotSo, step.verb, step.hidden)
		}
	}
	g.say("1. Échange masqué, puis affiché à nouveau")
	return nil
}

// awaitTimeout bounds the wait for a mail.
const awaitTimeout = 30 * time.Second

// await returns the mails and SMS that carry a reference once there are as many
// of each channel as wanted, oldest first, and fails if there are more.
func (g *guide) await(ctx context.Context, reference string, channels []string) ([]Mail, error) {
	ctx, cancel := context.WithTimeout(ctx, awaitTimeout)
	defer cancel()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	want := slices.Sorted(slices.Values(channels))
	for {
		all, err := inbox(ctx, g.places.Inbox, "")
		if err != nil {
			return nil, err
		}
		var about []Mail
		var got []string
		for _, m := range all {
			if strings.Contains(m.Subject+m.Text, reference) {
				about = append(about, m)
				got = append(got, m.Channel)
			}
		}
		slices.Sort(got)
		switch {
		case slices.Equal(got, want):
			return about, nil
		case len(got) > len(want):
			return about, fmt.Errorf("%w: %v were sent for %s, want %v", errNotSo, got, reference, want)
		}
		select {
		case <-ctx.Done():
			return about, fmt.Errorf("%w: %v were sent for %s, want %v", errNotSo, got, reference, want)
		case <-ticker.C:
		}
	}
}

// show prints mails and SMS as a person reads them.
func (g *guide) show(step string, mails []Mail) {
	for _, m := range mails {
		title := m.Subject
		if m.Channel == "SMS" {
			title = "SMS"
		}
		g.say("%s %s à %s : %s", step, m.Channel, m.To, title)
		for line := range strings.Lines(strings.TrimSpace(m.Text)) {
			g.say("   | %s", strings.TrimRight(line, "\n"))
		}
	}
}
