package vault

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/tink-crypto/tink-go-hcvault/v2/integration/hcvault"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"
)

const (
	kekScheme = "hcvault"
	// kekTimeout bounds a call of the KMS, its repeats included.
	kekTimeout = 5 * time.Second
	kekRetries = 2
)

// KEK is a key in a KMS that a key set is encrypted by, so that its file alone opens nothing.
type KEK struct {
	remote tink.AEAD
}

// CheckKEK returns what is wrong with the URI of a key in a KMS.
func CheckKEK(uri string) error {
	u, err := url.Parse(uri)
	if err != nil || u.Scheme != kekScheme || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return errKEK
	}
	// What comes before keys is the mount, in as many parts as it has.
	parts := strings.Split(u.EscapedPath(), "/")
	if n := len(parts); n < 4 || parts[n-1] == "" || parts[n-2] != "keys" {
		return errKEK
	}
	return nil
}

var errKEK = errors.New("is not hcvault://host:port/transit/keys/name, a key of a transit engine of Vault or OpenBao")

// OpenKEK returns a key of a KMS, which is not called yet. It is called over TLS.
func OpenKEK(uri, token string) (*KEK, error) {
	return openKEK(uri, token, &http.Client{Transport: http.DefaultTransport}, kekTimeout)
}

func openKEK(uri, token string, by *http.Client, timeout time.Duration) (*KEK, error) {
	if err := CheckKEK(uri); err != nil {
		return nil, fmt.Errorf("the key of the KMS %w", err)
	}
	u, err := url.Parse(uri)
	if err != nil {
		return nil, errKEK
	}
	client, err := api.NewClient(&api.Config{Address: "https://" + u.Host, HttpClient: by, Timeout: timeout, MaxRetries: kekRetries})
	if err != nil {
		return nil, fmt.Errorf("preparing calls of the KMS: %w", err)
	}
	client.SetToken(token)
	// NewClient, without options, takes wrong associated data for right.
	kms, err := hcvault.NewClientWithAEADOptions(kekScheme+"://"+u.Host, client.Logical())
	if err != nil {
		return nil, fmt.Errorf("preparing calls of the KMS: %w", err)
	}
	remote, err := kms.GetAEAD(uri)
	if err != nil {
		return nil, fmt.Errorf("preparing calls of the KMS: %w", err)
	}
	return &KEK{remote}, nil
}

// OpenKeyset reads a key set in tink's encrypted JSON, by one call of the KMS. One that is not
// encrypted is refused.
func (k *KEK) OpenKeyset(encrypted string) (*Keyset, error) {
	reader := keyset.NewJSONReader(bytes.NewBufferString(encrypted))
	if sealed, err := reader.ReadEncrypted(); err != nil || len(sealed.GetEncryptedKeyset()) == 0 {
		return nil, errors.New("reading the key set: not a tink key set in JSON that is encrypted by a KMS")
	}
	handle, err := keyset.Read(keyset.NewJSONReader(bytes.NewBufferString(encrypted)), k.remote)
	if err != nil {
		return nil, fmt.Errorf("decrypting the key set by the KMS: %w", err)
	}
	return keysetOf(handle, sha256.Sum256([]byte(encrypted)))
}
