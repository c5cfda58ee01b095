package journey

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Client calls the gateway's REST side as one person.
type Client struct {
	// Base is the gateway, such as http://127.0.0.1:8080.
	Base string
	// Token is the person's bearer token.
	Token string
}

var transport = &http.Client{Timeout: 15 * time.Second}

// Answer is what came back.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// Problem is the body of an error.
type Problem struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
	Details []struct {
		Type            string            `json:"@type"`
		Reason          string            `json:"reason"`
		Metadata        map[string]string `json:"metadata"`
		FieldViolations []struct {
			Field, Reason, Description string
		} `json:"fieldViolations"`
	} `json:"details"`
}

// Problem reads the answer as an error.
func (a Answer) Problem() Problem {
	var p Problem
	if err := json.Unmarshal(a.Body, &p); err != nil {
		p.Message = "not JSON: " + string(a.Body)
	}
	return p
}

// Reason is the stable reason of an error, or empty.
func (p Problem) Reason() string {
	for _, d := range p.Details {
		if d.Reason != "" {
			return d.Reason
		}
	}
	return ""
}

// Violation is "field REASON" of the first faulty field, or empty.
func (p Problem) Violation() string {
	for _, v := range p.Violations() {
		return v
	}
	return ""
}

// Violations are the faults of the fields, each with its reason.
func (p Problem) Violations() (list []string) {
	for _, d := range p.Details {
		for _, v := range d.FieldViolations {
			list = append(list, v.Field+" "+v.Reason)
		}
	}
	return list
}

// Do sends one call. body may be nil, bytes sent as they are, or something to be
// written as JSON. header are pairs.
func (c Client) Do(ctx context.Context, method, path string, body any, header ...string) (Answer, error) {
	var content io.Reader
	switch b := body.(type) {
	case nil:
	case []byte:
		content = bytes.NewReader(b)
	default:
		encoded, err := json.Marshal(b)
		if err != nil {
			return Answer{}, fmt.Errorf("writing the body of %s %s: %w", method, path, err)
		}
		content = bytes.NewReader(encoded)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.Base+path, content)
	if err != nil {
		return Answer{}, err
	}
	if c.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.Token)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := transport.Do(req)
	if err != nil {
		return Answer{}, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return Answer{}, fmt.Errorf("reading the answer of %s %s: %w", method, path, err)
	}
	return Answer{resp.StatusCode, resp.Header, raw}, nil
}

// call sends one call that must succeed and reads its answer.
func call[T any](ctx context.Context, c Client, method, path string, body any, header ...string) (T, error) {
	var into T
	answer, err := c.Do(ctx, method, path, body, header...)
	if err != nil {
		return into, err
	}
	if answer.Status != http.StatusOK {
		return into, fmt.Errorf("%s %s answers %d: %s", method, path, answer.Status, answer.Body)
	}
	if err := json.Unmarshal(answer.Body, &into); err != nil {
		return into, fmt.Errorf("reading the answer of %s %s: %w", method, path, err)
	}
	return into, nil
}

// Choice is a code with its label.
type Choice struct{ Code, Label string }

// Taxonomy is what an audience chooses from.
type Taxonomy struct {
	Version            int
	Depth              string
	DocumentDepositURL string `json:"documentDepositUrl"`
	Themes             []struct {
		Choice
		Topics []struct {
			Choice
			Reasons []Choice
		}
	}
}

// OnlineService is a service that may answer without a message.
type OnlineService struct{ Code, Name, URL string }

// Conversation is a conversation as REST shows it.
type Conversation struct {
	ID, Reference, Status string
	Theme, Topic, Reason  Choice
	Hidden, Unread        bool
	LastMessageID         string
	CreateTime            time.Time
	Messages              []struct{ ID, Author, Text string }
}

// Selection is a choice by codes.
type Selection struct {
	Audience string `json:"audience"`
	Theme    string `json:"theme"`
	Topic    string `json:"topic,omitempty"`
	Reason   string `json:"reason,omitempty"`
}

func (s Selection) query() string {
	return url.Values{"audience": {s.Audience}, "theme": {s.Theme}, "topic": {s.Topic}, "reason": {s.Reason}}.Encode()
}

// Submission is the body of POST /v1/conversations.
type Submission struct {
	Selection
	TaxonomyVersion int    `json:"taxonomyVersion"`
	Text            string `json:"text"`
}

// labels returns the labels of a selection.
func (t Taxonomy) labels(s Selection) (string, error) {
	for _, theme := range t.Themes {
		if theme.Code != s.Theme {
			continue
		}
		for _, topic := range theme.Topics {
			if topic.Code != s.Topic {
				continue
			}
			if s.Reason == "" {
				return theme.Label + " → " + topic.Label, nil
			}
			for _, reason := range topic.Reasons {
				if reason.Code == s.Reason {
					return strings.Join([]string{theme.Label, topic.Label, reason.Label}, " → "), nil
				}
			}
		}
	}
	return "", fmt.Errorf("%+v is not in the taxonomy of %s", s, s.Audience)
}

// Mail is a mail or an SMS in the development inbox.
type Mail struct {
	ID, Channel, To, Subject, Text string
}

// inbox returns what was sent to somebody.
func inbox(ctx context.Context, base, to string) ([]Mail, error) {
	type list struct{ Messages []Mail }
	got, err := call[list](ctx, Client{Base: base}, http.MethodGet, "/api/messages?to="+url.QueryEscape(to), nil)
	return got.Messages, err
}
