package taxonomy

import (
	"testing"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/messagingtest"
)

// The term is that of the innermost level that has one, in whichever order they come.
func TestChoose_Retention(t *testing.T) {
	t.Parallel()
	version := messagingtest.TaxonomyOf(1)
	for _, tree := range version.GetAudiences() {
		for _, theme := range tree.GetThemes() {
			switch theme.GetTheme().GetCode() {
			case "famille-logement":
				theme.Retentions = []*taxonomypb.CatalogueRetention{
					{Topic: "allocations", Reason: "paiement-absent", Years: 30}, {Years: 2}, {Topic: "allocations", Years: 10}, {Topic: "logement", Reason: "autre", Years: 4},
				}
			case "sante":
				theme.Retentions = []*taxonomypb.CatalogueRetention{{Topic: "soins", Reason: "remboursement", Years: 1}}
			case "dsn":
				theme.Retentions = []*taxonomypb.CatalogueRetention{{Years: 3}, {Topic: "depot", Reason: "erreur", Years: 6}}
			}
		}
	}
	for _, test := range []struct {
		audience             taxonomypb.Audience
		theme, topic, reason string
		want                 int16 // 0: as long as the setting says
	}{
		{taxonomypb.Audience_PARTICULIER, "famille-logement", "allocations", "paiement-absent", 30},
		{taxonomypb.Audience_PARTICULIER, "famille-logement", "allocations", "autre", 10},
		{taxonomypb.Audience_PARTICULIER, "famille-logement", "logement", "aide", 2},
		{taxonomypb.Audience_PARTICULIER, "sante", "soins", "remboursement", 1},
		{taxonomypb.Audience_EXPLOITANT, "exploitation", "parcelles", "declaration", 0},
		{taxonomypb.Audience_EMPLOYEUR, "dsn", "depot", "", 3},
		{taxonomypb.Audience_EMPLOYEUR, "dsn", "depot", "erreur", 6},
	} {
		chosen, err := Choose(version, &messagingpb.SubmitMessageRequest{Audience: test.audience, Theme: test.theme, Topic: test.topic, Reason: test.reason})
		if err != nil {
			t.Fatal(err)
		}
		if got := chosen.Years; (got != nil) != (test.want != 0) || got != nil && *got != test.want {
			t.Errorf("%s/%s/%s: %v, want %d", test.theme, test.topic, test.reason, got, test.want)
		}
	}
}
