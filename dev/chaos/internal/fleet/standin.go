package fleet

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// client is for the inbox, whose longest answer is a line for each message.
var client = &http.Client{Timeout: time.Minute}

// Get reads a page of the inbox. Close the body.
func (f *Fleet) Get(ctx context.Context, path string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+f.inboxAddr+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("asking the inbox: %w", err)
	}
	return resp, nil
}

// Tell sets something of the inbox.
func (f *Fleet) Tell(ctx context.Context, path string, body any) error {
	content, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("telling the inbox: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+f.inboxAddr+path, strings.NewReader(string(content)))
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("telling the inbox: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("telling the inbox: it answers %s", resp.Status)
	}
	return nil
}
