package chaos

import (
	"context"
	"fmt"
	"slices"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/metadata"

	"github.com/ma-messagerie/messagerie/chassis/rpc"
	"github.com/ma-messagerie/messagerie/dev/chaos/internal/attack"
	"github.com/ma-messagerie/messagerie/dev/chaos/internal/fleet"
	"github.com/ma-messagerie/messagerie/dev/chaos/internal/load"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
)

const (
	// hoard is how many conversations the member has whose exports are asked for.
	hoard = 500
	// pastYear is how many conversations a caisse had in a year.
	pastYear = 300_000
)

// attackers are the personas that attackers have a token of.
var attackers = map[string]string{
	"jeanne": "jeanne", "hoarder": "particulier-9999", "conseiller": "conseiller-msa-75-100", "operator": "sofiane",
}

// prepare fills in what the attacker is told, and makes what the attacks need to be
// there before.
func (n *neighbourhood) prepare(ctx context.Context, list []attack.Attack) error {
	f := n.fleet
	n.target = attack.Target{
		GRPC: f.GRPCAddrs[0], HTTP: f.HTTPAddrs[0], Web: f.WebAddr, Bind: n.run.cfg.AttackFrom, Issuer: "http://" + f.OIDCAddr + "/usagers",
		Tokens: make(map[string]string), Cookies: make(map[string]string),
	}
	for name, persona := range attackers {
		token, err := f.Token(persona)
		if err != nil {
			return err
		}
		n.target.Tokens[name] = token
	}
	visitor, err := load.SignIn(ctx, f, "member", "jeanne")
	if err != nil {
		return err
	}
	n.target.Cookies["jeanne"] = visitor.Cookies()
	needs := func(names ...string) bool {
		return slices.ContainsFunc(list, func(a attack.Attack) bool { return slices.Contains(names, a.Name) })
	}
	if needs("exports", "unread-member") {
		if err := n.hoard(ctx); err != nil {
			return err
		}
	}
	if needs("statistics", "exports") {
		return n.pastYear(ctx)
	}
	return nil
}

// hoard submits many messages of one member, past the gateway and its limits.
func (n *neighbourhood) hoard(ctx context.Context) error {
	conn, err := rpc.Dial(n.fleet.Direct("messaging"), nil)
	if err != nil {
		return err
	}
	defer conn.Close()
	client := messagingpb.NewMessagingServiceClient(conn)
	choices, err := rpc.Dial(n.fleet.Direct("taxonomy"), nil)
	if err != nil {
		return err
	}
	defer choices.Close()
	ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+n.target.Tokens["hoarder"])
	tree, err := taxonomypb.NewTaxonomyServiceClient(choices).GetTaxonomy(ctx, &taxonomypb.GetTaxonomyRequest{Audience: taxonomypb.Audience_PARTICULIER})
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(16)
	for i := range hoard {
		group.Go(func() error {
			_, err := client.SubmitMessage(metadata.AppendToOutgoingContext(ctx, "idempotency-key", uuid.NewString()), &messagingpb.SubmitMessageRequest{
				Audience: taxonomypb.Audience_PARTICULIER, Theme: "famille-logement", Topic: "allocations-familiales", Reason: "paiement-absent",
				TaxonomyVersion: tree.GetVersion(), Text: fmt.Sprintf("Bonjour, ceci est mon message numéro %d.", i),
			})
			return err
		})
	}
	return group.Wait()
}

// pastYearSQL is their spread over a year, of nine themes and seven queues.
const pastYearSQL = `
	INSERT INTO conversation (id, member_id, idempotency_key, reference, caisse, audience, taxonomy_version, theme, theme_label, queue, queue_label,
	                          answer_days, status, data_key, created_at, updated_at, first_reply_at)
	SELECT gen_random_uuid(), 'usagers:ancien-' || i % 20000, gen_random_uuid(), 'ANCIEN-' || i, 'msa-75', 1, 1, 'theme-' || i % 9, 'Thème', 'prestations-' || i % 7, 'Prestations',
	       5, CASE WHEN i % 20 = 0 THEN 1 ELSE 4 END, '', at, at, CASE WHEN i % 20 = 0 THEN NULL ELSE at + (i % 200) * interval '1 hour' END
	FROM (SELECT i, now() - (i::float8 / $1::int * 365) * interval '1 day' AS at FROM generate_series(1, $1::int) i) AS past`

// pastYear gives the caisse msa-75 a year of conversations, of which most are
// answered. Nobody reads their texts: none can.
func (n *neighbourhood) pastYear(ctx context.Context) error {
	if _, err := fleet.Query[struct{}](ctx, n.fleet.Database, "messaging", pastYearSQL, pastYear); err != nil {
		return err
	}
	_, err := fleet.Query[struct{}](ctx, n.fleet.Database, "messaging", `VACUUM ANALYZE conversation`)
	return err
}
