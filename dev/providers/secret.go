package providers

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/ma-messagerie/messagerie/services/messaging"
	"github.com/ma-messagerie/messagerie/web"
)

// databases are those of docker-compose.yml, each with a role of the same name.
var databases = []struct{ name, server, service, setting string }{
	{"taxonomy", "postgres", "taxonomy", "database"},
	{"messaging", "postgres", "messaging", "database"},
	{"notifier", "postgres", "notifier", "database"},
	{"vault", "vault", "messaging", "vault"},
}

// WriteSecrets makes what every process of docker-compose.yml needs to know and
// nobody else may: dir has a folder for each of them, which a volume of its own
// covers, and each secret is a file there. What is there already is kept, for texts
// are lost with the key set that sealed them.
//
// The servers' folders are written last: an interrupted run gives no database a
// password that its service does not have, as a database is made by then at the
// earliest.
func WriteSecrets(cfg Config, dir string) error {
	for _, db := range databases {
		password, err := keep(filepath.Join(dir, db.service, db.setting+"-password"), func() (string, error) { return rand.Text(), nil })
		if err != nil {
			return err
		}
		url := "postgres://" + db.name + ":" + password + "@" + db.server + ":5432/" + db.name + "?sslmode=disable"
		if err := always(filepath.Join(dir, db.service, db.setting+"-url"), url); err != nil {
			return err
		}
		if err := always(filepath.Join(dir, db.server, db.name), password); err != nil {
			return err
		}
	}
	made := map[string]func() (string, error){
		"messaging/keyset":     messaging.NewKeyset,
		"web/session-key":      func() (string, error) { return web.NewSessionKey(), nil },
		"notifier/webhook-key": cfg.webhookKey,
		"postgres/postgres":    func() (string, error) { return rand.Text(), nil },
		"vault/postgres":       func() (string, error) { return rand.Text(), nil },
	}
	for _, machine := range []string{"messaging", "notifier"} {
		made[machine+"/client-secret"] = func() (string, error) { return cfg.clientSecret(machine) }
	}
	for name, value := range made {
		if _, err := keep(filepath.Join(dir, name), value); err != nil {
			return err
		}
	}
	return nil
}

// webhookKey opens the inbox, which no other process may have open meanwhile: it is
// asked once, before the first start.
func (c Config) webhookKey() (string, error) {
	mailbox, err := c.openInbox()
	if err != nil {
		return "", err
	}
	return mailbox.WebhookKey(), mailbox.Close()
}

func (c Config) clientSecret(machine string) (string, error) {
	provider, err := c.openOIDC()
	if err != nil {
		return "", err
	}
	credentials, err := provider.Machine(machine)
	return credentials.ClientSecret, err
}

// keep returns the content of a file, which is made first if absent.
func keep(path string, value func() (string, error)) (string, error) {
	content, err := os.ReadFile(path)
	if err == nil {
		return string(content), nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("reading a secret: %w", err)
	}
	made, err := value()
	if err != nil {
		return "", fmt.Errorf("making secret %s: %w", filepath.Base(path), err)
	}
	return made, always(path, made)
}

// always writes a file that is there whole or not at all. It can be read by all,
// as each container has a user of its own: the volume that it is on is mounted by
// its process alone.
func always(path, content string) error {
	if err := os.WriteFile(path+".new", []byte(content), 0o444); err != nil { //nolint:gosec // see above
		return fmt.Errorf("writing a secret: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("writing a secret: %w", err)
	}
	return nil
}
