package conversation

import (
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/ma-messagerie/messagerie/chassis/auth"
)

// Scope is whose conversations a caller may see: one member's own, or an agent's
// by caisse and queue.
type Scope struct {
	Caisse    string
	Queues    []string
	AllQueues bool
	// Member is set for a member, and nothing else then.
	Member string
}

// ScopeOf is what the calling agent may see.
func ScopeOf(agent *auth.Identity) Scope {
	return Scope{Caisse: agent.Caisse, Queues: agent.Queues, AllQueues: slices.Contains(agent.Queues, auth.AllQueues)}
}

// Key is another for each scope: answers are shared among those who may see the same.
func (sc Scope) Key() string {
	if sc.AllQueues {
		return fmt.Sprintf("%q all", sc.Caisse)
	}
	queues := slices.Clone(sc.Queues)
	slices.Sort(queues)
	return fmt.Sprintf("%q %q", sc.Caisse, slices.Compact(queues))
}

// Args are the arguments of [WithinScope].
func (sc Scope) Args() pgx.NamedArgs {
	return pgx.NamedArgs{"caisse": sc.Caisse, "queues": sc.Queues, "allQueues": sc.AllQueues}
}

// Covers reports whether the caller may see the conversation; for an agent the same as
// [WithinScope].
func (sc Scope) Covers(row *Row) bool {
	if sc.Member != "" {
		return row.MemberID == sc.Member
	}
	return row.Caisse == sc.Caisse && (sc.AllQueues || slices.Contains(sc.Queues, row.Queue))
}

// WithinScope is the condition for an agent to see a conversation.
const WithinScope = `caisse = @caisse AND (@allQueues OR queue = ANY(@queues))`
