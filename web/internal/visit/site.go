package visit

import (
	"google.golang.org/grpc"

	"github.com/ma-messagerie/messagerie/web/internal/bound"
	"github.com/ma-messagerie/messagerie/web/internal/render"
	"github.com/ma-messagerie/messagerie/web/internal/session"
	"github.com/ma-messagerie/messagerie/web/internal/taxonomy"
)

// Site is what all visits have in common. Nothing in it changes while the process serves.
type Site struct {
	// FundName is the fund that answers, Publisher who runs the site.
	FundName, Publisher string
	// Statement is what is declared about accessibility.
	Statement render.Statement
	// Seal seals what is kept in cookies and forms, Sessions is who is signed in.
	Seal     *session.Sealer
	Sessions *session.Keeper
	// ByLanguage are the pages in each of render.Languages.
	ByLanguage map[string]*render.Pages
	// Gateway is the connection to the gateway, Watches another for streams of hints: a
	// connection carries a bounded number of calls, and watches are long.
	Gateway, Watches grpc.ClientConnInterface
	// Trees are what may be chosen from.
	Trees *taxonomy.Trees
	// Bounds are what one caller may have.
	Bounds *bound.Bounds
	// Ending is closed when streams must end, because the process drains.
	Ending <-chan struct{}
}
