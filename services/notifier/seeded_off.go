//go:build !seeded

package notifier

import (
	"context"

	"github.com/ma-messagerie/messagerie/services/notifier/internal/ledger"
)

// sendNow does nothing: this is no test build (see chassis/seeded).
func sendNow(context.Context, []*lane, []ledger.Plan) {}
