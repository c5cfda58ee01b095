package conversation

import (
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/ma-messagerie/messagerie/services/messaging/internal/lifecycle"
)

// Retention is how long conversations are kept after they have ended, unless the taxonomy
// gives their reason a term of its own; 0: for ever.
type Retention time.Duration

// MostYears is the longest term that the taxonomy may give.
const MostYears = 30

// Of is the term of conversations with a number of years, 0 for those whose reason has none;
// 0: they are kept for ever. A term of years is a number of days that no such span of the
// calendar exceeds, so that what passes it does so at one moment in every time zone.
func (r Retention) Of(years int16) time.Duration {
	if years == 0 {
		return time.Duration(r)
	}
	return time.Duration((int(years)*1461+3)/4) * 24 * time.Hour
}

// Expiry is until when a conversation is kept at least, as long as its selection and the setting
// stay; nil while it has not ended, or has no term.
func (r Retention) Expiry(row *Row) *timestamppb.Timestamp {
	var years int16
	if row.RetentionYears != nil {
		years = *row.RetentionYears
	}
	term := r.Of(years)
	if term == 0 || lifecycle.Waiting(row.Status) {
		return nil
	}
	return timestamppb.New(row.UpdatedAt.Add(term))
}

// DueSQL is the condition for a conversation c to have passed its term: it has ended, is on no
// hold, and was neither changed nor given a note within the term. years and term are
// expressions; see [Retention.Of].
func DueSQL(years, term string) string {
	return `coalesce(c.retention_years, 0) = ` + years + ` AND c.held_at IS NULL AND c.` + lifecycle.EndedSQL + ` AND c.updated_at < now() - ` + term + `
		AND NOT EXISTS (SELECT FROM note WHERE conversation_id = c.id AND created_at >= now() - ` + term + `)`
}
