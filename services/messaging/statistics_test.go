package messaging

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/testing/protocmp"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
)

// past is a conversation of the past, written into the table.
type past struct {
	caisse, queue, theme, label string
	version                     int
	status                      messagingpb.Status
	// created is an SQL expression, in which midnight(n) is when the day n days ago
	// began in Paris.
	created string
	// replied is how long after it the first answer came; empty: none.
	replied string
	days    int
}

// midnights defines midnight(n) in SQL.
const midnights = `CREATE FUNCTION midnight(ago integer) RETURNS timestamptz STABLE
	RETURN ((now() AT TIME ZONE 'Europe/Paris')::date - ago)::timestamp AT TIME ZONE 'Europe/Paris'`

func (s *stage) insert(t *testing.T, rows ...past) {
	t.Helper()
	for _, row := range rows {
		id := uuid.New()
		if _, err := s.pool.Exec(t.Context(), `INSERT INTO conversation (id, member_id, idempotency_key, reference, caisse, audience,
				taxonomy_version, theme, theme_label, queue, queue_label, answer_days, status, created_at, first_reply_at)
			SELECT $1::uuid, 'member:x', $1::uuid, $1::text, $2, 1, $3, $4, $5, $6, $6, $7, $8, at, at + nullif($9, '')::interval
			FROM (SELECT `+row.created+` AS at) AS t`,
			id.String(), row.caisse, row.version, row.theme, row.label, row.queue, row.days, int16(row.status), row.replied); err != nil {
			t.Fatal(err)
		}
	}
}

// day is the date in Paris some days ago.
func (s *stage) day(t *testing.T, ago int) (date string) {
	t.Helper()
	if err := s.pool.QueryRow(t.Context(), `SELECT to_char((now() AT TIME ZONE 'Europe/Paris')::date - $1::integer, 'YYYY-MM-DD')`, ago).Scan(&date); err != nil {
		t.Fatal(err)
	}
	return date
}

func (c caller) statistics(t *testing.T, req *messagingpb.GetStatisticsRequest) *messagingpb.GetStatisticsResponse {
	t.Helper()
	resp, err := c.agent.GetStatistics(c.call(t), req)
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

func TestStatistics_NothingThere(t *testing.T) {
	t.Parallel()
	s := running(t)
	claire := s.clerk(t, "claire")
	for days, want := range map[int32]int{0: 30, 1: 1, 366: 366} {
		got := claire.statistics(t, &messagingpb.GetStatisticsRequest{Days: days})
		if len(got.GetDays()) != want || got.GetDays()[0].GetDate() != s.day(t, want-1) || got.GetDays()[want-1].GetDate() != s.day(t, 0) {
			t.Errorf("%d days: %v", days, got.GetDays())
		}
		for _, day := range got.GetDays() {
			if day.GetReceived() != 0 || day.GetAnswered() != 0 {
				t.Errorf("%v", day)
			}
		}
		got.Days = nil
		if diff := cmp.Diff(&messagingpb.GetStatisticsResponse{Answers: &messagingpb.AnswerFigures{}}, got, protocmp.Transform()); diff != "" {
			t.Error(diff)
		}
	}
	for days, reason := range map[int32]string{-1: "OUT_OF_RANGE", 367: "OUT_OF_RANGE"} {
		_, err := s.agent.GetStatistics(claire.call(t), &messagingpb.GetStatisticsRequest{Days: days})
		refused(t, err, codes.InvalidArgument, reason, "days")
	}
	_, err := s.agent.GetStatistics(s.member(t, "jeanne").call(t), &messagingpb.GetStatisticsRequest{})
	refused(t, err, codes.PermissionDenied, "ACCESS_DENIED", "")
}

// Days begin at midnight in Paris, and an answer counts on its own day even when
// its conversation is older than the period.
func TestStatistics(t *testing.T) {
	t.Parallel()
	s := running(t)
	if _, err := s.pool.Exec(t.Context(), midnights); err != nil {
		t.Fatal(err)
	}
	const sent, answered, closed = messagingpb.Status_SENT, messagingpb.Status_ANSWERED, messagingpb.Status_CLOSED
	s.insert(t,
		// Before the period: only its answer and its waiting count.
		past{"msa-75", "famille", "logement", "Logement", 1, messagingpb.Status_PARTLY_ANSWERED, `midnight(2) - interval '1 microsecond'`, "1 microsecond", 5},
		past{"msa-75", "famille", "logement", "Logement", 1, sent, `midnight(2)`, "", 5},
		past{"msa-75", "famille", "logement", "Logement nouveau", 2, answered, `midnight(1) - interval '1 microsecond'`, "2 hours", 5},
		past{"msa-75", "famille", "logement", "Logement ancien", 1, closed, `midnight(2)`, "4 hours", 0},
		past{"msa-75", "sante", "soins", "Soins", 1, closed, `midnight(2)`, "6 hours", 1},
		past{"msa-75", "sante", "soins", "Soins", 1, closed, `midnight(0)`, "", 1},
		past{"msa-75", "sante", "soins", "Soins", 1, messagingpb.Status_WAITING_FOR_MEMBER, `midnight(1)`, "", 1},
		past{"msa-75", "sante", "soins", "Soins", 1, messagingpb.Status_REOPENED, `midnight(1)`, "", 1},
		past{"msa-44", "sante", "soins", "Soins", 1, sent, `midnight(1)`, "1 hour", 1},
	)
	day := func(ago int, received, answered int32) *messagingpb.DayFigures {
		return &messagingpb.DayFigures{Date: s.day(t, ago), Received: received, Answered: answered}
	}
	choice := func(code, label string) *messagingpb.Choice { return &messagingpb.Choice{Code: code, Label: label} }
	for _, test := range []struct {
		name   string
		claims map[string]any
		queue  string
		want   *messagingpb.GetStatisticsResponse
	}{
		{"all queues", nil, "", &messagingpb.GetStatisticsResponse{
			Days: []*messagingpb.DayFigures{day(2, 4, 3), day(1, 2, 1), day(0, 1, 0)},
			Themes: []*messagingpb.ThemeFigures{
				{Theme: choice("soins", "Soins"), Received: 4, Answered: 1, OnTime: 1, MedianHours: 6},
				{Theme: choice("logement", "Logement nouveau"), Received: 3, Answered: 2, OnTime: 1, MedianHours: 3},
			},
			Waiting: 3, Answers: &messagingpb.AnswerFigures{Answered: 3, OnTime: 2, MedianHours: 4, P90Hours: 5.6},
		}},
		{"one queue of all", nil, "sante", &messagingpb.GetStatisticsResponse{
			Days:    []*messagingpb.DayFigures{day(2, 1, 1), day(1, 2, 0), day(0, 1, 0)},
			Themes:  []*messagingpb.ThemeFigures{{Theme: choice("soins", "Soins"), Received: 4, Answered: 1, OnTime: 1, MedianHours: 6}},
			Waiting: 1, Answers: &messagingpb.AnswerFigures{Answered: 1, OnTime: 1, MedianHours: 6, P90Hours: 6},
		}},
		{"the agent's queue", map[string]any{"queues": []string{"famille"}}, "", &messagingpb.GetStatisticsResponse{
			Days:    []*messagingpb.DayFigures{day(2, 3, 2), day(1, 0, 1), day(0, 0, 0)},
			Themes:  []*messagingpb.ThemeFigures{{Theme: choice("logement", "Logement nouveau"), Received: 3, Answered: 2, OnTime: 1, MedianHours: 3}},
			Waiting: 2, Answers: &messagingpb.AnswerFigures{Answered: 2, OnTime: 1, MedianHours: 3, P90Hours: 3.8},
		}},
		{"another's queue", map[string]any{"queues": []string{"famille"}}, "sante", &messagingpb.GetStatisticsResponse{
			Days: []*messagingpb.DayFigures{day(2, 0, 0), day(1, 0, 0), day(0, 0, 0)}, Answers: &messagingpb.AnswerFigures{},
		}},
		{"no caisse", map[string]any{"caisse": ""}, "", &messagingpb.GetStatisticsResponse{
			Days: []*messagingpb.DayFigures{day(2, 0, 0), day(1, 0, 0), day(0, 0, 0)}, Answers: &messagingpb.AnswerFigures{},
		}},
	} {
		got := s.clerk(t, "claire", test.claims).statistics(t, &messagingpb.GetStatisticsRequest{Days: 3, Queue: test.queue})
		if (got.GetOldestWaiting() != nil) != (test.want.GetWaiting() > 0) {
			t.Errorf("%s: the oldest came %v", test.name, got.GetOldestWaiting())
		}
		got.OldestWaiting = nil
		if diff := cmp.Diff(test.want, got, protocmp.Transform(), cmp.Comparer(func(a, b float64) bool { return math.Abs(a-b) < 1e-9 })); diff != "" {
			t.Errorf("%s: %s", test.name, diff)
		}
	}
	var oldest time.Time
	if err := s.pool.QueryRow(t.Context(), `SELECT midnight(2) - interval '1 microsecond'`).Scan(&oldest); err != nil {
		t.Fatal(err)
	}
	if got := s.clerk(t, "claire").statistics(t, &messagingpb.GetStatisticsRequest{Days: 1}); !got.GetOldestWaiting().AsTime().Equal(oldest) || got.GetDays()[0].GetReceived() != 1 {
		t.Errorf("%v, want %v", got, oldest)
	}
}

// Seven days hold five working days wherever they begin, ten hold more.
func TestStatistics_OnTime(t *testing.T) {
	t.Parallel()
	s := running(t)
	if _, err := s.pool.Exec(t.Context(), midnights); err != nil {
		t.Fatal(err)
	}
	for ago := range 7 {
		for _, replied := range []string{"6 hours", "7 days 2 hours", "10 days 2 hours"} {
			s.insert(t, past{"msa-75", "famille", "logement", "Logement", 1, messagingpb.Status_ANSWERED, fmt.Sprintf(`midnight(%d)`, 15+ago), replied, 5})
		}
	}
	got := s.clerk(t, "claire").statistics(t, &messagingpb.GetStatisticsRequest{})
	if got.GetAnswers().GetAnswered() != 21 || got.GetAnswers().GetOnTime() != 14 || got.GetThemes()[0].GetOnTime() != 14 {
		t.Errorf("%v", got)
	}
}
