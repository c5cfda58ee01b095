package inbox

import (
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"time"
)

// The providers can be asked what they have taken. Both answer from what this
// inbox has accepted, at once and whatever faults are set: those are of sending.

// activityQuery is the one form of SendGrid's query language that is understood.
var activityQuery = regexp.MustCompile(`^\(?unique_args\['([A-Za-z0-9_-]+)'\]="([^"]*)"\)?$`)

// maxActivity is the most that SendGrid returns at once.
const maxActivity = 1000

// sendGridMessages is GET /v3/messages, the Email Activity Feed.
func (in *Inbox) sendGridMessages(w http.ResponseWriter, r *http.Request) {
	refuse := func(status int, field, text string) {
		writeJSON(w, status, map[string]any{"errors": []any{map[string]any{"message": text, "field": field}}})
	}
	if !same(r.Header.Get("Authorization"), "Bearer "+in.cfg.APIKey) {
		refuse(http.StatusUnauthorized, "", "The provided authorization grant is invalid, expired, or revoked")
		return
	}
	query := activityQuery.FindStringSubmatch(r.URL.Query().Get("query"))
	if query == nil {
		refuse(http.StatusBadRequest, "query", "only (unique_args['name']=\"value\") is understood here")
		return
	}
	limit, ok := number(r.URL.Query(), "limit", 10, 1, maxActivity)
	if !ok {
		refuse(http.StatusBadRequest, "limit", "limit must be from 1 to 1000")
		return
	}
	found := []any{}
	for _, m := range in.newest() {
		if value, ok := m.Headers["custom_args."+query[1]]; m.Channel == Email && ok && value == query[2] && len(found) < limit {
			found = append(found, map[string]any{
				// The feed has an id for each recipient, which begins with that of the request.
				"msg_id": m.ID + ".inbox-0", "from_email": m.From, "to_email": m.To, "subject": m.Subject, "status": "delivered",
				"opens_count": 0, "clicks_count": 0, "last_event_time": m.ReceivedAt.UTC().Format(time.RFC3339),
			})
		}
	}
	writeJSON(w, http.StatusOK, map[string]any{"messages": found})
}

// Codes and limits of Twilio's lists.
const (
	codeInvalidParameter = 20001
	maxPageSize          = 1000
)

// twilioMessages is GET …/Messages.json: newest first, in pages.
func (in *Inbox) twilioMessages(w http.ResponseWriter, r *http.Request) {
	refuse := func(status, code int, text string) {
		writeJSON(w, status, map[string]any{"code": code, "message": text, "more_info": "https://www.twilio.com/docs/errors", "status": status})
	}
	sid, token, _ := r.BasicAuth()
	if !same(sid, in.cfg.TwilioSID) || !same(token, in.cfg.TwilioToken) || r.PathValue("sid") != in.cfg.TwilioSID {
		refuse(http.StatusUnauthorized, codeAuthenticate, "Authenticate")
		return
	}
	query := r.URL.Query()
	size, sized := number(query, "PageSize", 50, 1, maxPageSize)
	page, paged := number(query, "Page", 0, 0, 1<<20)
	since, dated := day(query.Get("DateSent>"))
	if !sized || !paged || !dated {
		refuse(http.StatusBadRequest, codeInvalidParameter, "PageSize is from 1 to 1000, Page is not negative, DateSent> is YYYY-MM-DD")
		return
	}
	found := []any{}
	for _, m := range in.newestTo(query.Get("To")) {
		if to := query.Get("To"); m.Channel == SMS && (to == "" || m.To == to) && !m.ReceivedAt.Before(since) {
			found = append(found, in.twilioMessage(r.URL.Path, m))
		}
	}
	start, end := min(page*size, len(found)), min((page+1)*size, len(found))
	answer := map[string]any{
		"messages": found[start:end], "page": page, "page_size": size, "start": start, "end": max(start, end-1),
		"uri": r.URL.RequestURI(), "first_page_uri": pageURI(r.URL, 0), "next_page_uri": nil, "previous_page_uri": nil,
	}
	if end < len(found) {
		answer["next_page_uri"] = pageURI(r.URL, page+1)
	}
	if page > 0 {
		answer["previous_page_uri"] = pageURI(r.URL, page-1)
	}
	writeJSON(w, http.StatusOK, answer)
}

func (in *Inbox) twilioMessage(path string, m Message) map[string]any {
	at := m.ReceivedAt.UTC().Format(time.RFC1123Z)
	return map[string]any{
		"sid": m.ID, "account_sid": in.cfg.TwilioSID, "to": m.To, "from": m.From, "body": m.Text, "status": "delivered",
		"num_segments": "1", "num_media": "0", "direction": "outbound-api", "api_version": "2010-04-01",
		"price": nil, "price_unit": nil, "error_code": nil, "error_message": nil,
		"date_created": at, "date_sent": at, "date_updated": at, "uri": path[:len(path)-len(".json")] + "/" + m.ID + ".json",
	}
}

// newest returns everything accepted, newest first.
func (in *Inbox) newest() []Message {
	list := in.Messages()
	slices.Reverse(list)
	return list
}

// newestTo is the same for one recipient; for none, everything.
func (in *Inbox) newestTo(to string) (list []Message) {
	if to == "" {
		return in.newest()
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, i := range slices.Backward(in.byTo[to]) {
		list = append(list, in.messages[i])
	}
	return list
}

// number reads a parameter, or its default where there is none.
func number(query url.Values, name string, missing, least, most int) (n int, ok bool) {
	if !query.Has(name) {
		return missing, true
	}
	n, err := strconv.Atoi(query.Get(name))
	return n, err == nil && n >= least && n <= most
}

// day reads a date in UTC; none is the beginning of time.
func day(value string) (time.Time, bool) {
	if value == "" {
		return time.Time{}, true
	}
	at, err := time.Parse(time.DateOnly, value)
	return at, err == nil
}

func pageURI(u *url.URL, page int) string {
	query := u.Query()
	query.Set("Page", strconv.Itoa(page))
	return u.Path + "?" + query.Encode()
}
