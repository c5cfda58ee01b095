package notifier

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/ma-messagerie/messagerie/chassis/contact"
	eventspb "github.com/ma-messagerie/messagerie/proto/messagerie/events/v1"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/ledger"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/notifiertest"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/provider/providertest"
)

// at reads a moment of a test.
func at(t testing.TB, moment string) time.Time {
	t.Helper()
	read, err := time.Parse(time.RFC3339, moment)
	if err != nil {
		t.Fatal(err)
	}
	return read
}

// Of all kinds of SMS, a fresh acknowledgement alone leaves by night.
func TestQuiet_WhatLeavesAtAnyHour(t *testing.T) {
	t.Parallel()
	const night = "2026-11-23T03:00:00+01:00"
	for name, row := range map[string]struct {
		channel ledger.Channel
		kind    ledger.EventType
		closing bool
		age     time.Duration
		wait    time.Duration
	}{
		"an acknowledgement":          {ledger.SMS, ledger.MessageSubmitted, false, 0, 0},
		"one of ten minutes":          {ledger.SMS, ledger.MessageSubmitted, false, 10 * time.Minute, 0},
		"one that is older":           {ledger.SMS, ledger.MessageSubmitted, false, 10*time.Minute + time.Second, 5 * time.Hour},
		"a reply":                     {ledger.SMS, ledger.ReplyPosted, false, 0, 5 * time.Hour},
		"a closing":                   {ledger.SMS, ledger.ReplyPosted, true, 0, 5 * time.Hour},
		"what is not known here":      {ledger.SMS, "conversation-closed", false, 0, 5 * time.Hour},
		"a mail about a reply":        {ledger.Email, ledger.ReplyPosted, false, time.Hour, 0},
		"an acknowledgement by mail":  {ledger.Email, ledger.MessageSubmitted, false, 48 * time.Hour, 0},
		"one of a clock that is fast": {ledger.SMS, ledger.MessageSubmitted, false, -time.Hour, 0},
	} {
		// The ledger's times are UTC, or whatever the process has.
		claimed := at(t, night).UTC()
		d := ledger.Delivery{Channel: row.channel, EventType: row.kind, Closing: row.closing, ClaimedAt: claimed, OccurredAt: claimed.Add(-row.age)}
		if wait, late := (Hours{8, 20}).quiet(d, "+33612345678"); wait != row.wait || late != (row.wait > 0) {
			t.Errorf("%s waits %s (%t), want %s", name, wait, late, row.wait)
		}
		if wait, late := (Hours{0, 24}).quiet(d, "+33612345678"); late {
			t.Errorf("%s waits %s where SMS leave at any time", name, wait)
		}
	}
}

// A moment and a number, and when an SMS leaves that has to wait: the same moment, where it
// does not.
func TestQuiet_WhereTheNumberLives(t *testing.T) {
	t.Parallel()
	const paris, reunion, guadeloupe, guyane, martinique, miquelon, noumea, tahiti = "+33612345678", "+262692123456", "+590690123456", "+594694123456", "+596696123456", "+508708551234", "+687751234", "+68987123456"
	for _, row := range []struct{ phone, now, leaves string }{
		{paris, "2026-11-23T07:59:59+01:00", "2026-11-23T08:00:00+01:00"},
		{paris, "2026-11-23T08:00:00+01:00", "2026-11-23T08:00:00+01:00"},
		{paris, "2026-11-23T19:59:59+01:00", "2026-11-23T19:59:59+01:00"},
		{paris, "2026-11-23T20:00:00+01:00", "2026-11-24T08:00:00+01:00"},
		{paris, "2026-11-30T21:00:00+01:00", "2026-12-01T08:00:00+01:00"},
		{paris, "2026-12-31T23:59:59+01:00", "2027-01-01T08:00:00+01:00"},
		{paris, "2028-02-28T20:00:00+01:00", "2028-02-29T08:00:00+01:00"},
		// The nights of eleven and of thirteen hours, and the hour that comes twice.
		{paris, "2026-03-28T20:00:00+01:00", "2026-03-29T08:00:00+02:00"},
		{paris, "2026-03-29T01:59:59+01:00", "2026-03-29T08:00:00+02:00"},
		{paris, "2026-10-24T20:00:00+02:00", "2026-10-25T08:00:00+01:00"},
		{paris, "2026-10-25T02:30:00+02:00", "2026-10-25T08:00:00+01:00"},
		{paris, "2026-10-25T02:30:00+01:00", "2026-10-25T08:00:00+01:00"},
		{paris, "2027-10-31T02:30:00+02:00", "2027-10-31T08:00:00+01:00"},
		// By day in Paris it is night elsewhere, and the other way round.
		{reunion, "2026-11-23T17:00:00+01:00", "2026-11-24T08:00:00+04:00"},
		{reunion, "2026-11-23T05:00:00+01:00", "2026-11-23T08:00:00+04:00"},
		{reunion, "2026-07-23T06:00:00+02:00", "2026-07-23T08:00:00+04:00"},
		{guadeloupe, "2026-11-23T08:00:00+01:00", "2026-11-23T08:00:00-04:00"},
		{guadeloupe, "2026-11-24T00:59:00+01:00", "2026-11-23T19:59:00-04:00"},
		{guadeloupe, "2026-11-24T01:00:00+01:00", "2026-11-24T08:00:00-04:00"},
		{guyane, "2026-11-23T11:59:59+01:00", "2026-11-23T08:00:00-03:00"},
		{martinique, "2026-11-23T12:59:59+01:00", "2026-11-23T08:00:00-04:00"},
		{noumea, "2026-11-23T10:00:00+01:00", "2026-11-24T08:00:00+11:00"},
		{noumea, "2026-11-23T09:59:00+01:00", "2026-11-23T19:59:00+11:00"},
		// Saint-Pierre-et-Miquelon changes its clocks on days of its own.
		{miquelon, "2026-10-31T20:00:00-02:00", "2026-11-01T08:00:00-03:00"},
		{miquelon, "2026-03-07T20:00:00-03:00", "2026-03-08T08:00:00-02:00"},
		// Polynesia: from 8 o'clock in Tahiti until 20 in the Gambier Islands, an hour ahead.
		{tahiti, "2026-11-23T07:59:00-10:00", "2026-11-23T08:00:00-10:00"},
		{tahiti, "2026-11-23T18:59:00-10:00", "2026-11-23T18:59:00-10:00"},
		{tahiti, "2026-11-23T19:00:00-10:00", "2026-11-24T08:00:00-10:00"},
		// Abroad: of Portugal, which is from the Azores to Lisbon, and of Halifax.
		{"+351912345678", "2026-11-23T08:30:00+00:00", "2026-11-23T08:00:00-01:00"},
		{"+351912345678", "2026-11-23T20:00:00+00:00", "2026-11-24T08:00:00-01:00"},
		{"+15062345678", "2026-11-23T08:00:00+01:00", "2026-11-23T08:00:00-04:00"},
		// One that cannot be read, and one of no country, are taken for the fund's.
		{"+999123456789", "2026-11-23T20:00:00+01:00", "2026-11-24T08:00:00+01:00"},
		{"+870773111632", "2026-11-23T20:00:00+01:00", "2026-11-24T08:00:00+01:00"},
	} {
		d := ledger.Delivery{Channel: ledger.SMS, EventType: ledger.ReplyPosted, ClaimedAt: at(t, row.now).UTC(), OccurredAt: at(t, row.now)}
		wait, late := Hours{8, 20}.quiet(d, row.phone)
		if got := d.ClaimedAt.Add(wait); !got.Equal(at(t, row.leaves)) || late != (wait > 0) {
			t.Errorf("to %s at %s: leaves at %s (%t), want %s", row.phone, row.now, got, late, row.leaves)
		}
	}
}

// Zones that are never in their hours at the same time: it is day in as many as can be.
func TestNext_NothingInCommon(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		hours       Hours
		zones       []string
		now, leaves string
	}{
		"of two the first":  {Hours{8, 20}, []string{"Europe/Paris", "Pacific/Auckland"}, "2027-01-15T21:00:00+01:00", "2027-01-15T21:00:00+01:00"},
		"in Auckland":       {Hours{10, 18}, []string{"Europe/Paris", "Pacific/Auckland"}, "2027-01-15T19:00:00+01:00", "2027-01-16T10:00:00+13:00"},
		"in Paris":          {Hours{10, 18}, []string{"Europe/Paris", "Pacific/Auckland"}, "2027-01-15T07:00:00+01:00", "2027-01-15T10:00:00+01:00"},
		"two of three":      {Hours{8, 20}, []string{"Europe/Paris", "Pacific/Noumea", "America/Denver"}, "2027-01-15T10:30:00+01:00", "2027-01-15T08:00:00-07:00"},
		"two of three, now": {Hours{8, 20}, []string{"Europe/Paris", "Pacific/Noumea", "America/Denver"}, "2027-01-15T19:59:00+01:00", "2027-01-15T19:59:00+01:00"},
	} {
		got := row.hours.next(at(t, row.now), locations(t, row.zones...))
		if !got.Equal(at(t, row.leaves)) {
			t.Errorf("%s: %s, want %s", name, got, row.leaves)
		}
	}
}

func locations(t interface{ Fatal(...any) }, names ...string) []*time.Location {
	list := make([]*time.Location, len(names))
	for i, name := range names {
		zone, err := time.LoadLocation(name)
		if err != nil {
			t.Fatal(err)
		}
		list[i] = zone
	}
	return list
}

// worldwide has all kinds of zones: ahead of UTC and behind it, by halves and quarters of an
// hour, with summer time in either half of the year, of half an hour, and beginning at midnight.
var worldwide = []string{
	"Europe/Paris", "Indian/Reunion", "Indian/Mayotte", "America/Guadeloupe", "America/Cayenne", "America/Miquelon", "Pacific/Noumea", "Pacific/Wallis",
	"Pacific/Gambier", "Pacific/Marquesas", "Pacific/Tahiti", "America/St_Johns", "Asia/Kathmandu", "Pacific/Chatham", "Australia/Lord_Howe", "Australia/Eucla",
	"Africa/Casablanca", "Africa/Cairo", "America/Santiago", "America/Havana", "Asia/Beirut", "Atlantic/Azores", "Pacific/Kiritimati", "Pacific/Pago_Pago", "UTC",
}

// For any hours, moment and zones, an SMS leaves within the hours of all zones, or of as many
// as ever are within them at once, and there is no minute before at which it could have left.
func TestNext_Property(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		from := rapid.IntRange(0, 23).Draw(t, "from")
		h := Hours{from, rapid.IntRange(from+1, 24).Draw(t, "until")}
		zones := locations(t, rapid.SliceOfNDistinct(rapid.SampledFrom(worldwide), 1, 3, rapid.ID[string]).Draw(t, "zones")...)
		now := time.Unix(rapid.Int64Range(1767225600, 1893456000).Draw(t, "now"), 0) // 2026 to 2029
		if rapid.Bool().Draw(t, "at a change") {
			// Within a day of a time at which clocks change in one of the zones.
			if _, change := now.In(zones[0]).ZoneBounds(); !change.IsZero() {
				now = change.Add(time.Duration(rapid.IntRange(-86400, 86400).Draw(t, "from it")) * time.Second)
			}
		}
		open := func(at time.Time) (n int) {
			for _, zone := range zones {
				clock := at.In(zone)
				if minutes := clock.Hour()*60 + clock.Minute(); minutes >= h.from*60 && minutes < h.until*60 {
					n++
				}
			}
			return n
		}
		got := h.next(now, zones)
		if got.Before(now) || open(got) == 0 {
			t.Fatalf("%s: leaves at %s", now, got)
		}
		for minute := now; minute.Before(got); minute = minute.Truncate(time.Minute).Add(time.Minute) {
			if open(minute) >= open(got) {
				t.Fatalf("%s: leaves at %s, and could at %s", now, got, minute)
			}
		}
		if open(got) == len(zones) {
			return
		}
		for minute := got; minute.Before(now.Add(horizon)); minute = minute.Add(time.Minute) {
			if open(minute) > open(got) {
				t.Fatalf("%s: leaves at %s, and %s is better", now, got, minute)
			}
		}
	})
}

// The property of one number: what is promised to members.
func TestQuiet_Property(t *testing.T) {
	t.Parallel()
	phones := []string{"+33612345678", "+262692123456", "+262639012345", "+590690123456", "+594694123456", "+596696123456", "+508708551234", "+687751234", "+68987123456", "+681821234", "+351912345678", "+61412345678", "+14155552671"}
	rapid.Check(t, func(t *rapid.T) {
		phone := rapid.SampledFrom(phones).Draw(t, "phone")
		number, err := contact.Phone(phone)
		if err != nil {
			t.Fatal(err)
		}
		claimed := time.Unix(rapid.Int64Range(1767225600, 1893456000).Draw(t, "now"), 0)
		d := ledger.Delivery{Channel: ledger.SMS, EventType: ledger.ReplyPosted, ClaimedAt: claimed, OccurredAt: claimed}
		wait, _ := Hours{8, 20}.quiet(d, phone)
		for _, zone := range number.Zones() {
			if hour := claimed.Add(wait).In(zone).Hour(); hour < 8 || hour >= 20 {
				t.Errorf("to %s at %s it leaves at %s", phone, claimed, claimed.Add(wait).In(zone))
			}
		}
	})
}

func TestHours(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Hours{"8-20": {8, 20}, "0-24": {0, 24}, "": {}, "8": {}, "20-8": {}, "8-8": {}, "8-25": {}, "-1-8": {}, "8h-20h": {}, "8-20-22": {}} {
		var got Hours
		if err := got.UnmarshalText([]byte(text)); got != want || (err == nil) != (want != Hours{}) {
			t.Errorf("%q: %v, %v, want %v", text, got, err, want)
		}
	}
}

// clocked has the database say the time that a test sets, in connections that begin afterwards.
// It goes on from there. What is a default of a column goes by the true clock.
func (s *stage) clocked(t *testing.T) (set func(at time.Time)) {
	t.Helper()
	notifiertest.Exec(t, s.pool, `
		CREATE SCHEMA clock;
		CREATE TABLE clock.ahead (by interval NOT NULL);
		INSERT INTO clock.ahead VALUES ('0');
		CREATE FUNCTION clock.now() RETURNS timestamptz STABLE LANGUAGE sql AS 'SELECT pg_catalog.now() + by FROM clock.ahead';
		DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = public, clock, pg_catalog', current_database()); END $$`)
	return func(at time.Time) {
		notifiertest.Exec(t, s.pool, `UPDATE clock.ahead SET by = $1::timestamptz - pg_catalog.now()`, at)
	}
}

// Late SMS to numbers overseas, in each form in which members type them, leave within the hours
// of where the number lives, also when that is long after the four hours in which others lapse.
func TestSMS_LeavesWhereItsNumberLives(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.cfg.SMSHours = Hours{8, 20}
	set := s.clocked(t)
	// In Paris it is one o'clock in the morning, at Réunion four; it is 20 h in the Antilles
	// and 21 h in Guyane.
	evening := at(t, "2031-01-15T00:00:00Z")
	set(evening)
	opens := map[string]time.Time{
		"0690": at(t, "2031-01-15T08:00:00-04:00"), "0694": at(t, "2031-01-15T08:00:00-03:00"),
		"0696": at(t, "2031-01-15T08:00:00-04:00"), "0692": at(t, "2031-01-15T08:00:00+04:00"),
	}
	waits := make(map[uuid.UUID]time.Time)
	var moments []time.Time
	stop := s.start(t)
	for prefix, opening := range opens {
		for _, form := range []string{prefix + " 12 34 56", "+33" + prefix[1:] + "123456", "0033 " + prefix[1:] + " 12 34 56"} {
			to := s.newcomer()
			to.SmsOnReply, to.Phone = true, form
			if !strings.HasPrefix(form, "+") { // which an account can bring as it is
				number, err := contact.Phone(form)
				if err != nil {
					t.Fatal(err)
				}
				to.Phone = number.E164
			}
			for kind, age := range map[string]time.Duration{eventspb.TypeReplyPosted: 0, eventspb.TypeMessageSubmitted: 11 * time.Minute} {
				id, event := eventOf(t, kind, to)
				event.Time = evening.Add(-age)
				s.publish(t, event)
				waits[id] = opening
			}
		}
		moments = append(moments, opening.Add(-time.Minute), opening.Add(2*time.Second))
	}
	notifiertest.Eventually(t, "all SMS wait", func() bool {
		var n int
		err := s.pool.QueryRow(t.Context(), `SELECT count(*) FROM delivery WHERE channel = 'SMS' AND state = 'planned' AND reason = 'QUIET_HOURS' AND next_attempt_at < expires_at`).Scan(&n)
		return err == nil && n == len(waits)
	})
	stop()
	slices.SortFunc(moments, time.Time.Compare)
	for _, now := range slices.CompactFunc(moments, time.Time.Equal) {
		set(now)
		stop := s.start(t)
		// An acknowledgement that is fresh leaves at any hour, behind all that is due.
		fresh, event := eventOf(t, eventspb.TypeMessageSubmitted, s.newcomer())
		event.Time = now
		s.publish(t, event)
		var want, got []string
		for id, opening := range waits {
			if !opening.After(now) {
				want = append(want, id.String()+".SMS")
			}
		}
		notifiertest.Eventually(t, "what is due has left", func() bool {
			var open int
			err := s.pool.QueryRow(t.Context(), `SELECT count(*) FROM delivery WHERE channel = 'SMS' AND (event_id = $2 OR next_attempt_at <= $1 OR lease_until IS NOT NULL) AND state <> 'accepted'`, now, fresh).Scan(&open)
			var known bool
			if err == nil {
				err = s.pool.QueryRow(t.Context(), `SELECT EXISTS (SELECT FROM delivery WHERE channel = 'SMS' AND event_id = $1)`, fresh).Scan(&known)
			}
			return err == nil && known && open == 0
		})
		stop()
		for _, sent := range s.providers.Accepted(providertest.SMS) {
			if id, _, _ := ledger.ParseID(sent.DeliveryID); !waits[id].IsZero() {
				got = append(got, sent.DeliveryID)
			}
		}
		slices.Sort(want)
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("at %s: %s", now, diff)
		}
	}
}
