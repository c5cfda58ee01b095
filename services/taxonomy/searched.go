package taxonomy

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"google.golang.org/protobuf/proto"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/chassis/report"
	"github.com/ma-messagerie/messagerie/chassis/rpc"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
	"github.com/ma-messagerie/messagerie/services/taxonomy/internal/words"
)

const (
	// fewestMembers is how many members' searches must have had a word within a month before
	// it can be read. A constraint of searched_word has the number too.
	fewestMembers = 5
	// maxNoted is how many words of a search are noted, and shortest and longest how many
	// letters one may have.
	maxNoted          = 8
	shortest, longest = 2, 30
	// maxMonthWords is how many words of a month are noted.
	maxMonthWords = 20_000
	// maxSearchedWords is the most that statistics return.
	maxSearchedWords = 200
	// monthGrace is how long after its end what is of a month alone is kept: a call that began
	// before midnight ends after it.
	monthGrace = time.Minute
)

// searched is a member's search, counted once for its key. With a choice, or nothing but words
// that say nothing, it has no words.
//
// # What is promised
//
// A word is written to the database, or even sent there, only once the searches of at least five
// members had it within a calendar month. Until then it is a digest, HMAC-SHA256 under a secret
// of the month, and of each member who searched for it there is one bit of 64, chosen by an HMAC
// of word and member. Five different bits are five members for certain. One bit says nothing
// about one person: one in 64 of all members would have set it. When a word can be read its bits
// are zeroed, and when the month has ended the secret is deleted: what digests and bits are left
// then lead to nothing, and to nobody.
//
// The words of a search are in no log, trace, metric or error.
//
// # The price
//
// Two members may share a bit: in one of seven cases five members are not enough, and the sixth
// or seventh is needed. A word with fewer than five members in each month is never seen.
//
// # When it breaks
//
// Whoever reads the database, with the secret, before the month has ended can find out whether a
// word that they guess was searched for, and that a member is among the 64th of all who may have
// done so. The secret is in an unlogged table, and so in no backup but a dump that includes
// such tables. It is lost when the database's server crashes or another takes its place: the
// words of that month need five members anew. One that could be read already then begins a second
// row, which statistics add to the first.
//
// Of a month 20,000 words are noted, more by as many as the calls under way at that moment have;
// what is beyond is not, but searches are counted. Whoever fills a month keeps others' new words
// from the list (messagerie.search.words.skipped). Five accounts of one person are five members.
type searched struct {
	call

	words   []string
	subject string
	without bool
}

// RecordSearch counts a member's search. An answer means that it is stored, once for each key
// within keyTerm. Without one it may be stored too, and a repeated call finds out.
func (s *server) RecordSearch(ctx context.Context, req *taxonomypb.RecordSearchRequest) (*taxonomypb.RecordSearchResponse, error) {
	if _, ok := s.store.current.Load().finder.views[req.GetAudience()]; !ok {
		return nil, notServed(req.GetAudience())
	}
	content, err := proto.MarshalOptions{Deterministic: true}.Marshal(req)
	if err != nil {
		return nil, fmt.Errorf("digesting a search: %w", err)
	}
	// Under the caller's key, which is not stored: a digest of the words alone could be guessed.
	key := rpc.IdempotencyKey(ctx)
	search := searched{
		call:    call{key: callKey(ctx), request: digest(key[:], "RecordSearch", string(content))},
		subject: auth.FromContext(ctx).Subject, without: !req.GetChosen(),
	}
	if search.without {
		search.words = notable(req.GetQ())
	}
	fresh, skipped, err := s.store.search(ctx, search)
	if err != nil {
		return nil, err
	}
	if !fresh {
		rpc.Replayed(ctx)
		return &taxonomypb.RecordSearchResponse{}, nil
	}
	s.searches.Add(ctx, 1, metric.WithAttributes(
		attribute.String("audience", req.GetAudience().String()), attribute.Bool("chosen", req.GetChosen())))
	s.skipped.Add(ctx, int64(skipped))
	return &taxonomypb.RecordSearchResponse{}, nil
}

// notable are the words of a search that may be noted, each once: the first maxNoted that are made
// of letters alone and neither very short nor long. Those that have a digit may be numbers of
// somebody.
func notable(q string) []string {
	var list []string
	for _, word := range words.Content(q) {
		letters := utf8.RuneCountInString(word)
		if letters < shortest || letters > longest || slices.Contains(list, word) ||
			slices.ContainsFunc([]rune(word), func(r rune) bool { return !unicode.IsLetter(r) }) {
			continue
		}
		if list = append(list, word); len(list) == maxNoted {
			break
		}
	}
	return list
}

// digest is an HMAC of several texts, which zeros keep apart: words and subjects have none.
func digest(secret []byte, texts ...string) (sum [sha256.Size]byte) {
	h := hmac.New(sha256.New, secret)
	for i, text := range texts {
		if i > 0 {
			h.Write([]byte{0})
		}
		h.Write([]byte(text))
	}
	h.Sum(sum[:0])
	return sum
}

// month is one in Paris, with its secret.
type month struct {
	First  time.Time `db:"month"`
	Secret []byte    `db:"secret"`
}

// word is the digest by which a word is found.
func (m month) word(word string) []byte {
	sum := digest(m.Secret, "word", word)
	return sum[:]
}

// bucket is the bit of a member whose search had a word.
func (m month) bucket(word, subject string) int64 {
	return int64(1) << (digest(m.Secret, "member", word, subject)[0] % 64)
}

// wordRow is what a search writes for a word.
type wordRow struct {
	Digest  []byte `db:"digest"`
	Buckets int64  `db:"buckets"`
}

var wordRows = postgres.RowsOf[wordRow]()

// search adds one search to those of its day in Paris, by the database's clock, and notes its
// words, once for its key: fresh reports whether it did, and skipped how many words found no
// room. It takes a round trip without words and two with them, and one more for each word that
// can be read from now on. If it is cut off before that, the next search with the word makes up
// for it.
//
// Rows are locked in the same order by all: the key, the words by their digest, the month, the
// day.
func (s *store) search(ctx context.Context, o searched) (fresh bool, skipped int, err error) {
	var m month
	given, said := make([]wordRow, len(o.words)), make(map[string]string, len(o.words))
	if len(o.words) > 0 {
		if m, err = s.month(ctx); err != nil {
			return false, 0, noCounts(ctx, err)
		}
		for i, word := range o.words {
			given[i] = wordRow{Digest: m.word(word), Buckets: m.bucket(word, o.subject)}
			said[string(given[i].Digest)] = word
		}
	}
	type searchRow struct {
		keyRow

		Noted int      `db:"noted"`
		Ready [][]byte `db:"ready"`
	}
	var row searchRow
	fresh, err = o.once(ctx, func() (_ keyRow, err error) {
		row, err = postgres.One[searchRow](ctx, s.pool, "counting a search", `
			WITH begun AS (
				INSERT INTO outcome_key (digest, request) VALUES ($1, $2) ON CONFLICT (digest) DO NOTHING RETURNING 1
			), noted AS (
				INSERT INTO searched_word AS w (month, digest, buckets)
				SELECT $3::date, digest, buckets FROM `+wordRows.From("given", 7)+`
				WHERE EXISTS (SELECT FROM begun) AND (
					(SELECT words FROM search_month WHERE month = $3) < $4
					OR EXISTS (SELECT FROM searched_word AS k WHERE k.month = $3 AND k.digest = given.digest))
				ORDER BY digest
				ON CONFLICT (month, digest) DO UPDATE SET
					buckets  = CASE WHEN w.word IS NULL THEN w.buckets | excluded.buckets ELSE 0 END,
					searches = CASE WHEN w.word IS NULL THEN 0 ELSE w.searches + 1 END
				RETURNING digest, xmax = 0 AS made, word IS NULL AND bit_count(buckets::bit(64)) >= $5 AS ready
			), grown AS (
				UPDATE search_month SET words = words + (SELECT count(*) FROM noted WHERE made)
				WHERE month = $3 AND EXISTS (SELECT FROM noted WHERE made) RETURNING 1
			), counted AS (
				INSERT INTO search_day AS d (day, searches, without_choice)
				SELECT `+today+`, 1, $6::boolean::integer
				WHERE EXISTS (SELECT FROM begun) AND (SELECT count(*) FROM grown) >= 0 -- after it
				ON CONFLICT (day) DO UPDATE SET
					searches       = d.searches + excluded.searches,
					without_choice = d.without_choice + excluded.without_choice
			)
			SELECT EXISTS (SELECT FROM begun) AS fresh, (SELECT request FROM outcome_key WHERE digest = $1) AS request,
				(SELECT count(*) FROM noted) AS noted, ARRAY(SELECT digest FROM noted WHERE ready) AS ready`,
			wordRows.Args(given, o.key[:], o.request[:], m.First, maxMonthWords, fewestMembers, o.without)...)
		return row.keyRow, err
	})
	if err != nil || !fresh {
		return false, 0, err
	}
	for _, known := range row.Ready {
		if err := s.reveal(ctx, m, known, said[string(known)]); err != nil {
			return false, 0, noCounts(ctx, err)
		}
	}
	return true, len(given) - row.Noted, nil
}

// thisMonth is the first day of the current month where days are counted.
const thisMonth = `date_trunc('month', ` + today + `::timestamp)::date`

// month returns the current month. The first to ask for it draws its secret; of several at once
// all use the one that was stored.
func (s *store) month(ctx context.Context) (m month, err error) {
	for range 3 { // the month may end in between
		m, err = postgres.One[month](ctx, s.pool, "reading the secret of a month", `SELECT month, secret FROM search_month WHERE month = `+thisMonth)
		if !errors.Is(err, pgx.ErrNoRows) {
			return m, err
		}
		secret := make([]byte, sha256.Size)
		_, _ = rand.Read(secret) // never fails
		if _, err := postgres.Exec(ctx, s.pool, "drawing the secret of a month", `
			INSERT INTO search_month (month, secret) VALUES (`+thisMonth+`, $1) ON CONFLICT (month) DO NOTHING`, secret); err != nil {
			return m, err
		}
	}
	return m, err
}

// reveal stores a word that enough members have searched for, once; from then on it is counted.
func (s *store) reveal(ctx context.Context, m month, known []byte, word string) error {
	_, err := postgres.Exec(ctx, s.pool, "storing a searched word", `
		UPDATE searched_word SET word = $3, searches = bit_count(buckets::bit(64)), buckets = 0
		WHERE month = $1 AND digest = $2 AND word IS NULL AND bit_count(buckets::bit(64)) >= $4`, m.First, known, word, fewestMembers)
	return err
}

// monthBefore is the first day of the month in Paris some time ago.
const monthBefore = `date_trunc('month', (now() - $1::interval) AT TIME ZONE 'Europe/Paris')::date`

// forgetSecrets deletes the secrets of months that ended longer ago.
func (s *store) forgetSecrets(ctx context.Context, keep time.Duration) (int64, error) {
	return postgres.Exec(ctx, s.pool, "forgetting secrets of searched words", `DELETE FROM search_month WHERE month < `+monthBefore, keep)
}

// forgetPending deletes some of the words that too few members have searched for in months that
// ended longer ago.
func (s *store) forgetPending(ctx context.Context, keep time.Duration) (int64, error) {
	return postgres.Exec(ctx, s.pool, "forgetting words that too few members had", `
		DELETE FROM searched_word WHERE ctid = ANY (ARRAY(
			SELECT ctid FROM searched_word WHERE word IS NULL AND month < `+monthBefore+` ORDER BY month LIMIT $2))`, keep, postgres.ForgetBatch)
}

// forgetWords deletes some of the words of months that ended longer ago.
func (s *store) forgetWords(ctx context.Context, keep time.Duration) (int64, error) {
	return postgres.Exec(ctx, s.pool, "forgetting searched words", `
		DELETE FROM searched_word WHERE ctid = ANY (ARRAY(
			SELECT ctid FROM searched_word WHERE word IS NOT NULL AND month < `+monthBefore+` ORDER BY month LIMIT $2))`, keep, postgres.ForgetBatch)
}

// forgetSearches deletes some of the counts of older days, oldest first.
func (s *store) forgetSearches(ctx context.Context, keep time.Duration) (int64, error) {
	return postgres.Exec(ctx, s.pool, "forgetting counts of searches", `
		DELETE FROM search_day WHERE day = ANY (ARRAY(
			SELECT day FROM search_day WHERE day < (now() - $1::interval)::date ORDER BY day LIMIT $2))`, keep, postgres.ForgetBatch)
}

// GetSearchStatistics reports how searches ended. See the .proto.
func (s *server) GetSearchStatistics(ctx context.Context, req *taxonomypb.GetSearchStatisticsRequest) (*taxonomypb.GetSearchStatisticsResponse, error) {
	days := cmp.Or(req.GetDays(), defaultDays)
	q := report.Question{Caller: auth.FromContext(ctx).Subject, Key: fmt.Sprintf("searches %d", days), MaxAge: s.maxAge}
	return report.Read(ctx, s.figures, q, func(ctx context.Context) (*taxonomypb.GetSearchStatisticsResponse, error) {
		return s.apart.searches(ctx, days)
	})
}

// searches are those of the last days, up to 366 with today in Paris, with the words of all months
// that these are of. A number beyond the wire's type is its largest value.
func (s *store) searches(ctx context.Context, days int32) (*taxonomypb.GetSearchStatisticsResponse, error) {
	type dayRow struct {
		Date          string `db:"date"`
		Searches      int32  `db:"searches"`
		WithoutChoice int32  `db:"without_choice"`
	}
	counts, err := postgres.Many[dayRow](ctx, s.pool, "reading searches", `
		SELECT to_char(g, 'YYYY-MM-DD') AS date,
			least(coalesce(searches, 0), $2)::integer AS searches, least(coalesce(without_choice, 0), $2)::integer AS without_choice
		FROM generate_series((`+today+` - $1::integer + 1)::timestamp, `+today+`, interval '1 day') AS g LEFT JOIN search_day ON day = g::date
		ORDER BY g`, days, math.MaxInt32)
	if err != nil {
		return nil, noCounts(ctx, err)
	}
	type said struct {
		Word     string `db:"word"`
		Searches int32  `db:"searches"`
	}
	list, err := postgres.Many[said](ctx, s.pool, "reading searched words", `
		SELECT word, least(sum(searches), $2)::integer AS searches
		FROM searched_word
		WHERE word IS NOT NULL AND month BETWEEN date_trunc('month', (`+today+` - $1::integer + 1)::timestamp) AND `+today+`
		GROUP BY word
		ORDER BY sum(searched_word.searches) DESC, word COLLATE "C"
		LIMIT $3`, days, math.MaxInt32, maxSearchedWords)
	if err != nil {
		return nil, noCounts(ctx, err)
	}
	resp := &taxonomypb.GetSearchStatisticsResponse{}
	for _, c := range counts {
		resp.Days = append(resp.Days, &taxonomypb.SearchDay{Date: c.Date, Searches: c.Searches, WithoutChoice: c.WithoutChoice})
	}
	for _, w := range list {
		resp.Words = append(resp.Words, &taxonomypb.SearchedWord{Word: w.Word, Searches: w.Searches})
	}
	return resp, nil
}
