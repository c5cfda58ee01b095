package messaging

import (
	"testing"

	"github.com/ma-messagerie/messagerie/services/messaging/internal/reference"
)

// The sequence has gone back: by one block, as on a standby that lacked the last of the
// log, or to its beginning, as after logical replication. Every submission is stored all
// the same, and blocks that are in use are passed over at one go.
func TestSubmit_SequenceGoneBack(t *testing.T) {
	t.Parallel()
	for back, setval := range map[string]string{
		"a block":    `SELECT setval('reference_block', last_value - 1) FROM reference_block`,
		"altogether": `SELECT setval('reference_block', 0)`,
	} {
		t.Run(back, func(t *testing.T) {
			t.Parallel()
			s := newStage(t)
			first := s.start(t)
			jeanne := s.member(t, "jeanne")
			seen := map[string]bool{jeanne.submit(t).GetReference(): true}
			// References of thirty blocks more are in use.
			old := reference.New(s.pool)
			for range 30 {
				taken, err := old.Take(t.Context())
				for range reference.BlockSize - 1 { // the rest of its block
					_, err = old.Take(t.Context())
				}
				if err != nil {
					t.Fatal(err)
				}
				seen[taken.Text] = true
				id := jeanne.submit(t).GetId()
				if n := s.count(t, `WITH renamed AS (UPDATE conversation SET reference = $2 WHERE id = $1 RETURNING 1) SELECT count(*) FROM renamed`, id, taken.Text); n != 1 {
					t.Fatal("no conversation to give a reference to")
				}
			}
			first.stop()
			if _, err := s.pool.Exec(t.Context(), setval); err != nil {
				t.Fatal(err)
			}
			s.start(t)
			for range 3 {
				if got := jeanne.submit(t).GetReference(); seen[got] {
					t.Errorf("%s was given twice", got)
				} else {
					seen[got] = true
				}
			}
		})
	}
}
