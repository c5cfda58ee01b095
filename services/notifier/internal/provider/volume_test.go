package provider

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ma-messagerie/messagerie/chassis/testenv"
)

// A client shared between goroutines once sent some mails twice and others never,
// and answered 202 to each. So: a hundred thousand by one sendGrid, 256 at a
// time, and every recipient must have theirs, once, with their own words.
func TestManySends(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	const atOnce = 256
	sends := 100_000
	if testenv.Race {
		sends = 20_000
	}
	var wrong atomic.Int64
	got := make([]atomic.Int32, sends)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body struct {
			Personalizations []struct {
				To   []struct{ Email string }
				Args struct {
					DeliveryID string `json:"delivery_id"`
				} `json:"custom_args"`
			}
			Subject string
			Content []struct{ Value string }
		}
		var i int
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil || len(body.Personalizations) != 1 || len(body.Personalizations[0].To) != 1 || len(body.Content) != 2 {
			wrong.Add(1)
			return
		}
		to := body.Personalizations[0]
		if _, err := fmt.Sscanf(to.To[0].Email, "m%d@example.org", &i); err != nil ||
			to.Args.DeliveryID != deliveryName(i) || body.Subject != subjectOf(i) || body.Content[0].Value != textOf(i) {
			wrong.Add(1)
			return
		}
		got[i].Add(1)
		w.WriteHeader(http.StatusAccepted)
	}))
	t.Cleanup(server.Close)
	mails := &sendGridMailer{cfg: SendGrid{BaseURL: server.URL, APIKey: "k", From: "no-reply@example.org", FromName: "Ma messagerie"}, client: newClient(atOnce, time.Minute)}
	var next, refused atomic.Int64
	var group sync.WaitGroup
	for range atOnce {
		group.Go(func() {
			for i := int(next.Add(1)) - 1; i < sends; i = int(next.Add(1)) - 1 {
				a := mails.Mail(t.Context(), Email{
					DeliveryID: deliveryName(i), To: fmt.Sprintf("m%d@example.org", i), Subject: subjectOf(i), Text: textOf(i), HTML: "<p>" + textOf(i) + "</p>",
				})
				if a.Class != Accepted {
					refused.Add(1)
				}
			}
		})
	}
	group.Wait()
	missing, twice := 0, 0
	for i := range got {
		switch n := got[i].Load(); {
		case n == 0:
			missing++
		case n > 1:
			twice++
		}
	}
	if missing+twice+int(wrong.Load())+int(refused.Load()) > 0 {
		t.Errorf("of %d recipients %d got nothing and %d more than one; %d mails were mixed up, %d not accepted", sends, missing, twice, wrong.Load(), refused.Load())
	}
}

func deliveryName(i int) string { return fmt.Sprintf("%08d.EMAIL", i) }
func subjectOf(i int) string    { return fmt.Sprintf("Accusé de réception MSA-%08d", i) }
func textOf(i int) string       { return fmt.Sprintf("Votre message %d nous est parvenu.", i) }
