package messagingtest

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/chassis/rpc"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
)

// Taxonomy is the taxonomy service as far as this one sees it: a real gRPC server
// that asks for a machine's token, with two versions.
type Taxonomy struct {
	taxonomypb.UnimplementedCatalogueServiceServer
	Issuer  auth.Issuer
	Addr    string
	Current atomic.Int32
	// Asked counts the questions for the current version; while held is not nil, they
	// wait for it.
	Asked atomic.Int32
	Held  chan struct{}
	// Leave ends the server.
	Leave func()
}

// GetCatalogue implements CatalogueService.
func (x *Taxonomy) GetCatalogue(ctx context.Context, req *taxonomypb.GetCatalogueRequest) (*taxonomypb.GetCatalogueResponse, error) {
	if req.GetVersion() == 0 {
		x.Asked.Add(1)
		if x.Held != nil {
			select {
			case <-x.Held:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
	}
	current := x.Current.Load()
	wanted := req.GetVersion()
	if wanted == 0 {
		wanted = current
	}
	if wanted > current {
		return nil, status.Error(codes.NotFound, "no such version")
	}
	if req.GetVersion() == 0 && req.GetKnownVersion() == current {
		return &taxonomypb.GetCatalogueResponse{Unchanged: true, CurrentVersion: current}, nil
	}
	return &taxonomypb.GetCatalogueResponse{Catalogue: TaxonomyOf(wanted), CurrentVersion: current}, nil
}

// Serve answers on the address it had before, if any.
func (x *Taxonomy) Serve(t *testing.T) {
	t.Helper()
	if x.Addr == "" {
		x.Addr = "127.0.0.1:0"
	}
	lis, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", x.Addr)
	if err != nil {
		t.Fatal(err)
	}
	x.Addr = lis.Addr().String()
	server, err := rpc.NewServer(rpc.ServerConfig{Listener: lis}, auth.NewVerifier(auth.Config{Issuers: auth.Issuers{x.Issuer}}))
	if err != nil {
		t.Fatal(err)
	}
	taxonomypb.RegisterCatalogueServiceServer(server, x)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ctx, time.Second) }()
	x.Leave = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(x.Leave)
}

func theme(queue, code, label string, topics ...*taxonomypb.Topic) *taxonomypb.CatalogueTheme {
	return &taxonomypb.CatalogueTheme{Theme: &taxonomypb.Theme{Code: code, Label: label, Topics: topics}, Queue: queue}
}

// kept is a theme with a term for what is about one of its reasons.
func kept(years int32, theme *taxonomypb.CatalogueTheme, topic, reason string) *taxonomypb.CatalogueTheme {
	theme.Retentions = append(theme.Retentions, &taxonomypb.CatalogueRetention{Topic: topic, Reason: reason, Years: years})
	return theme
}

func topic(code, label string, reasons ...string) *taxonomypb.Topic {
	list := make([]*taxonomypb.Reason, len(reasons))
	for i, reason := range reasons {
		list[i] = &taxonomypb.Reason{Code: reason, Label: "Motif " + reason}
	}
	return &taxonomypb.Topic{Code: code, Label: label, Reasons: list}
}

// TaxonomyOf is one version of the tests' taxonomy. Version 2 names everything
// anew, and asks employers for a theme alone; version 3 narrows what a text may have.
// What is about the reimbursement of care is kept for ten years.
func TaxonomyOf(version int32) *taxonomypb.Catalogue {
	v := fmt.Sprintf(" v%d", version)
	employers := taxonomypb.Depth_TOPIC
	if version == 2 {
		employers = taxonomypb.Depth_THEME
	}
	limits := &taxonomypb.TextLimits{Min: 10, Max: 750}
	if version == 3 {
		limits = &taxonomypb.TextLimits{Min: 50, Max: 300}
	}
	return &taxonomypb.Catalogue{
		Version: version, TextLimits: limits,
		Audiences: []*taxonomypb.AudienceCatalogue{
			{Audience: taxonomypb.Audience_PARTICULIER, Depth: taxonomypb.Depth_REASON, Themes: []*taxonomypb.CatalogueTheme{
				theme("famille", "famille-logement", "Famille"+v, topic("allocations", "Allocations"+v, "paiement-absent", "autre"), topic("logement", "Logement"+v, "aide")),
				kept(10, theme("sante", "sante", "Santé"+v, topic("soins", "Soins"+v, "remboursement")), "soins", "remboursement"),
			}},
			{Audience: taxonomypb.Audience_EXPLOITANT, Depth: taxonomypb.Depth_REASON, Themes: []*taxonomypb.CatalogueTheme{
				theme("entreprises", "exploitation", "Exploitation"+v, topic("parcelles", "Parcelles"+v, "declaration")),
				theme("famille", "famille-logement", "Famille"+v, topic("allocations", "Allocations"+v, "revenus-agricoles"), topic("batiments", "Bâtiments"+v, "aide")),
			}},
			{Audience: taxonomypb.Audience_EMPLOYEUR, Depth: employers, Themes: []*taxonomypb.CatalogueTheme{
				theme("entreprises", "dsn", "DSN"+v, topic("depot", "Dépôt"+v, "erreur")),
			}},
		},
		Queues: []*taxonomypb.Queue{
			{Code: "famille", Label: "Service famille" + v, PostalAddress: "1 rue de la Famille", Phone: "010000000" + v[2:], Email: "famille@msa.example", AnswerDays: 5},
			{Code: "sante", Label: "Service santé" + v, PostalAddress: "1 rue de la Santé", Phone: "0200000000", AnswerDays: 3},
			{Code: "entreprises", Label: "Service entreprises" + v, PostalAddress: "1 rue du Champ", Phone: "0300000000"},
		},
	}
}
