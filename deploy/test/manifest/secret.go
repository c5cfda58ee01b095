package manifest

import "slices"

// keysOf are the keys that a Secret will have, wherever it comes from: the tree
// itself, an operator that the tree asks for it, or whoever installs, as the
// examples document. known is false where nobody makes it.
func (l *linter) keysOf(secret string) (keys []string, known bool) {
	for _, o := range l.objects {
		switch {
		case o.Kind() == "Secret" && o.Name() == secret:
			return secretKeys(o), true
		case o.Kind() == "Certificate" && text(o.at("spec", "secretName")) == secret:
			return []string{"tls.crt", "tls.key", "ca.crt"}, true
		case o.Kind() == "Cluster" && o.Name()+"-app" == secret:
			return []string{"username", "password", "dbname", "host", "port", "uri", "jdbc-uri", "pgpass", "fqdn-uri"}, true
		case o.Kind() == "Cluster" && o.Name()+"-ca" == secret:
			return []string{"ca.crt", "ca.key"}, true
		case o.Kind() == "ExternalSecret" && externalTarget(o) == secret:
			return externalKeys(o), true
		}
	}
	keys, known = l.facts.Secrets[secret]
	return keys, known
}

func externalTarget(o Object) string {
	if name := text(o.at("spec", "target", "name")); name != "" {
		return name
	}
	return o.Name()
}

func externalKeys(o Object) []string {
	var keys []string
	for _, entry := range list(o.at("spec", "data")) {
		keys = append(keys, text(at(entry, "secretKey")))
	}
	return append(keys, sorted(mapping(o.at("spec", "target", "template", "data")))...)
}

// wholeStore reports whether an ExternalSecret takes all keys of an entry of the
// store, so that nothing here knows which there are.
func wholeStore(o Object) bool { return len(list(o.at("spec", "dataFrom"))) > 0 }

// needSecret reports a Secret that nobody makes, or that lacks a key; key may be
// empty.
func (l *linter) needSecret(o Object, field, secret, key string) {
	keys, known := l.keysOf(secret)
	if !known {
		l.fault(o, field, "Secret "+secret+" is made by nobody", "correct the name, or document it in "+SecretExamples)
		return
	}
	for _, e := range ofKind(l.objects, "ExternalSecret") {
		if externalTarget(e) == secret && wholeStore(e) {
			return
		}
	}
	if key != "" && !slices.Contains(keys, key) {
		l.fault(o, field, "Secret "+secret+" has no key "+key, "it has "+oneOf(keys))
	}
}

// needConfigMap is the same for ConfigMaps, which the tree makes all of.
func (l *linter) needConfigMap(o Object, field, name, key string) {
	found := Find(l.objects, "ConfigMap", name)
	if found == nil {
		l.fault(o, field, "ConfigMap "+name+" is made by nobody", "correct the name, or generate it")
		return
	}
	keys := append(sorted(mapping(found["data"])), sorted(mapping(found["binaryData"]))...)
	if key != "" && !slices.Contains(keys, key) {
		l.fault(o, field, "ConfigMap "+name+" has no key "+key, "it has "+oneOf(keys))
	}
}
