package upkeep

import (
	"context"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/member"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/vault"
)

// unusedAge is how long a key is noted as one that may seal nothing before it is looked at: a
// submission may be under way whose member was confirmed before.
const unusedAge = 24 * time.Hour

// retireKeys destroys keys of members of whom something was deleted and nothing is left. Only
// what was deleted here is a reason: a database that does not have a member, because it is an
// older copy or the wrong one, must not cost them their key.
func (u *Upkeep) retireKeys(ctx context.Context, age time.Duration) (int64, error) {
	noted, err := postgres.Many[vault.Owned](ctx, u.DB, "listing keys that may be unused",
		`SELECT member_id, id FROM unused_key WHERE noted_at <= now() - $1::interval ORDER BY noted_at LIMIT $2`, age, postgres.ForgetBatch)
	if err != nil || len(noted) == 0 {
		return 0, err
	}
	members, ids := make([]string, len(noted)), make([]uuid.UUID, len(noted))
	for i, owned := range noted {
		members[i], ids[i] = owned.MemberID, owned.ID
	}
	without, err := u.without(ctx, members)
	if err != nil {
		return 0, err
	}
	unused := slices.DeleteFunc(noted, func(owned vault.Owned) bool { return !slices.Contains(without, owned.MemberID) })
	if _, err := u.Vault.Retire(ctx, unused, u.without); err != nil {
		return 0, err
	}
	return postgres.Exec(ctx, u.DB, "forgetting keys that may be unused", `DELETE FROM unused_key WHERE id = ANY($1)`, ids)
}

// without returns those of these members of whom nothing is stored.
func (u *Upkeep) without(ctx context.Context, members []string) ([]string, error) {
	return member.WithoutData(ctx, u.DB, members)
}
