package vault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/ma-messagerie/messagerie/chassis/testenv"
	"github.com/ma-messagerie/messagerie/chassis/testenv/scale"
	"github.com/ma-messagerie/messagerie/services/messaging/migrations"
)

// filled makes as many members with a key, one in a hundred of whom has had everything erased,
// with a conversation, contact points and a draft each.
var (
	filledVault = []string{
		`INSERT INTO member_key (member, id, wrapped, made_at) SELECT 'member:' || n, md5(n::text)::uuid, $3, now() - interval '3 years' * random() FROM generate_series($1::bigint + 1, $2::bigint) n`,
		`INSERT INTO erased_key (id, erased_at) SELECT md5('erased' || n)::uuid, now() - interval '400 days' * random() FROM generate_series($1::bigint / 100 + 1, $2::bigint / 100) n WHERE length($3::bytea) > 0`,
	}
	filledData = []string{
		`INSERT INTO erased_member_key (id, erased_at, ended_at) SELECT md5('erased' || n)::uuid, now() - interval '400 days' * random(), now() FROM generate_series($1::bigint / 100 + 1, $2::bigint / 100) n`,
		`INSERT INTO conversation (id, member_id, key_id, idempotency_key, reference, caisse, audience, taxonomy_version, theme, theme_label, topic, reason, queue, queue_label, answer_days, status)
		 SELECT md5('conversation' || n)::uuid, 'member:' || n, md5(n::text)::uuid, gen_random_uuid(), 'AGED-' || n, 'msa-75', 1, 1, 'theme', 'Thème', '', '', 'queue', 'File', 5, 7 FROM generate_series($1::bigint + 1, $2::bigint) n`,
		`INSERT INTO member (id, key_id, contact, locale) SELECT 'member:' || n, md5(n::text)::uuid, '\x00', 'fr' FROM generate_series($1::bigint + 1, $2::bigint) n`,
		`INSERT INTO draft (member_id, id, key_id, body) SELECT 'member:' || n, md5(n::text)::uuid, md5(n::text)::uuid, '\x00' FROM generate_series($1::bigint + 1, $2::bigint) n`,
	}
)

// Every statement of this package reads what it returns, in databases that have grown.
func TestScale(t *testing.T) {
	t.Parallel()
	var vault *pgxpool.Pool
	keyset := newKeyset(t)
	scale.Tables{
		URL: testenv.Postgres(t, migrations.Files), Also: testenv.Postgres(t, Migrations), Opened: func(also *pgxpool.Pool) { vault = also },
		Fill: func(ctx context.Context, pool *pgxpool.Pool, from, to int) error {
			for _, sql := range filledData {
				if _, err := pool.Exec(ctx, sql, from, to); err != nil {
					return fmt.Errorf("%w: %s", err, sql)
				}
			}
			for _, sql := range filledVault {
				// As long as a wrapped key; nobody opens it.
				if _, err := vault.Exec(ctx, sql, from, to, bytes.Repeat([]byte{1}, 65)); err != nil {
					return fmt.Errorf("%w: %s", err, sql)
				}
			}
			return nil
		},
		Rows: func(data, aside *pgxpool.Pool) []scale.Row { return scaleRows(t, vault, data, keyset) },
	}.Test(t)
}

func scaleRows(t *testing.T, db, data *pgxpool.Pool, keyset *Keyset) []scale.Row {
	t.Helper()
	v := New(Config{DB: db, Data: data, Keyset: keyset, Remember: LeastRemembered})
	ctx, end := context.WithCancel(t.Context())
	t.Cleanup(end)
	go v.lookups.Run(ctx)
	failed := func(_ any, err error) error { return err }
	read := func(do func(ctx context.Context, n int) error, of ...string) scale.Row {
		return scale.Row{Of: of, Run: do}
	}
	none := func(context.Context, []string) ([]string, error) { return nil, nil }
	all := func(_ context.Context, members []string) ([]string, error) { return members, nil }
	made := func(ctx context.Context) (member string, key Key, err error) {
		member = "member:new " + uuid.NewString()
		key, err = v.Of(ctx, member)
		return member, key, err
	}
	return []scale.Row{
		{Of: []string{"Vault.hear", "Vault.Reconcile", "Vault.knownIn"}, Reads: "what is remembered of erasures, at the start and every five minutes", Run: func(ctx context.Context, _ int) error {
			return failed(v.Reconcile(ctx))
		}},
		read(func(ctx context.Context, _ int) error {
			_, _, err := made(ctx)
			return err
		}, "Vault.look", "Vault.find"),
		read(func(ctx context.Context, _ int) error {
			if err := v.missing(ctx, uuid.New()); !errors.Is(err, ErrLost) {
				return err
			}
			return nil
		}, "Vault.missing"),
		read(func(ctx context.Context, _ int) error {
			return errors.Join(v.CheckErased(ctx, data, uuid.New()), v.CheckErased(ctx, data, uuid.Nil))
		}, "Vault.CheckErased"),
		{Of: []string{"Vault.Refuse", "Vault.settle", "Vault.discard", "Vault.Ended", "Vault.Erase"}, Planless: 1, Run: func(ctx context.Context, _ int) error { // nobody is writing
			member, _, err := made(ctx)
			if err != nil {
				return err
			}
			ids, err := v.Erase(ctx, member, nil)
			return errors.Join(err, v.Ended(ctx, data, ids))
		}},
		read(func(ctx context.Context, _ int) error {
			member, key, err := made(ctx)
			if err != nil {
				return err
			}
			n, err := v.Retire(ctx, []Owned{{member, key.ID}}, all)
			if err == nil && n != 1 {
				return fmt.Errorf("%d retired", n)
			}
			return err
		}, "Vault.Retire", "Vault.retired"),
		{Of: []string{"Vault.discardAgain"}, Reads: "all keys, after a vault came back", Run: func(ctx context.Context, _ int) error {
			return v.discardAgain(ctx, []Erasure{{ID: uuid.New()}})
		}},
		{Of: []string{"Vault.scrubOnce", "Vault.scrubPart", "unlock", "vacuum"}, Planless: 3, Run: func(ctx context.Context, _ int) error { // VACUUM and its limit
			member, _, err := made(ctx)
			if err != nil {
				return err
			}
			_, err = v.Erase(ctx, member, nil)
			return errors.Join(err, v.scrubOnce(ctx))
		}},
		{Of: []string{"Vault.Forget"}, Reads: "what it deletes, of which small tables have little", Run: func(ctx context.Context, _ int) error {
			return failed(v.Forget(ctx, 300*24*time.Hour))
		}},
		{Of: []string{"Vault.Compare", "Vault.lacking"}, Reads: "a page of 2,000", Run: func(ctx context.Context, _ int) error {
			for _, step := range steps {
				page, err := v.Compare(ctx, data, step.name+" "+step.from, none)
				if err != nil {
					return err
				}
				if len(page.Missing) > 0 {
					return fmt.Errorf("%d keys are missing", len(page.Missing))
				}
			}
			page, err := v.lacking(ctx, data, []sealedRow{{Member: "member:1", KeyID: uuid.New()}})
			if err == nil && len(page) != 1 {
				return fmt.Errorf("%d keys are missing, want one", len(page))
			}
			return err
		}},
		{Of: []string{"Vault.heal", "Vault.healSome"}, Run: func(ctx context.Context, _ int) error {
			member, key, err := made(ctx)
			if err != nil {
				return err
			}
			if err := v.discard(ctx, []string{member}, []Erasure{{ID: key.ID}}); err != nil {
				return err
			}
			v.keys.Purge()
			v.remember(key)
			v.server.Store(nil)
			return v.heal(ctx)
		}},
		{Of: []string{"Vault.dispensable"}, Reads: "all keys, when the key set loses one", Run: func(ctx context.Context, _ int) error {
			if err := v.dispensable(ctx, &Keyset{}); !errors.Is(err, ErrInUse) {
				return fmt.Errorf("what was made here needs the key: %w", err)
			}
			return nil
		}},
		read(func(ctx context.Context, _ int) error { return failed(v.unused(ctx, "member:1", none)) }, "Vault.unused"),
		{Of: []string{"Vault.makeCheckValue", "Vault.checkValue"}, Run: func(ctx context.Context, _ int) error {
			_, err := v.makeCheckValue(ctx, keyset)
			if !errors.Is(err, ErrMisfit) { // the keys here are nobody's
				return fmt.Errorf("a check value beside keys that do not open: %w", err)
			}
			_, err = v.checkValue(ctx)
			if errors.Is(err, pgx.ErrNoRows) {
				err = nil
			}
			return err
		}, Planless: 1},
		read(func(ctx context.Context, _ int) error {
			gone, end := context.WithCancel(ctx)
			end()
			v.followKeyset(gone)
			return v.note(ctx)
		}, "Vault.followKeyset", "Vault.note"),
		read(func(ctx context.Context, _ int) error { return failed(v.Fit(ctx)) }, "Vault.fit"),
		{Of: []string{"Vault.Wrappers"}, Reads: "all keys, for an operator", Run: func(ctx context.Context, _ int) error {
			_, _, err := v.Wrappers(ctx)
			return err
		}},
		{Of: []string{"Vault.Remembered"}, Reads: "what is remembered of erasures, for an operator", Run: func(ctx context.Context, _ int) error { return failed(v.Remembered(ctx, data)) }},
		{Of: []string{"Vault.Rewrap", "Vault.resealCheck"}, Planless: 2, Run: func(ctx context.Context, _ int) error { // the keys here are nobody's, and there is no check value
			return failed(v.Rewrap(ctx, "member:1"))
		}},
		{Of: []string{"Everything"}, Reads: "all keys, for tests", Run: func(ctx context.Context, _ int) error {
			_, err := Everything(ctx, db, keyset)
			if err == nil {
				return errors.New("keys of nobody open")
			}
			return nil
		}},
	}
}
