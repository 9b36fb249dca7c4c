package cli

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// userColumns are those of an export of accounts.
func userColumns() []string {
	return []string{
		"name", "scram", "hash", "algorithm", "salt", "salt_position", "groups", "attributes", "superuser", "limits", "client_id", "disabled", "created",
	}
}

// userFile reads accounts of our own, of EMQX and of mosquitto.
type userFile struct {
	algorithm, position, digest string
	iterations                  int
}

func userForms() *userFile { return &userFile{} }

func (*userFile) help() string {
	return `FILE is one of
  JSON or CSV of fantail ctl user export, or with the columns name and password;
  JSON or CSV for EMQX: user_id, password_hash, salt, is_superuser, or password in place of password_hash;
  a password file of mosquitto.
A digest in hexadecimal does not tell how it was made: say so with --algorithm and the flags behind it, as EMQX's
password_hash_algorithm has it.`
}

func (u *userFile) register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&u.algorithm, "algorithm", "", "hashes that do not tell their form were made with `NAME`: plain, md5, sha, sha256, sha512 or pbkdf2")
	f.StringVar(&u.position, "salt-position", "", "the salt stands before or behind the password: `prefix`, suffix or disable")
	f.StringVar(&u.digest, "mac", "sha256", "with pbkdf2: its `DIGEST`, sha1 (EMQX: sha), sha256 or sha512")
	f.IntVar(&u.iterations, "iterations", 4096, "with pbkdf2: its `NUMBER` of iterations")
}

func (u *userFile) thing(fields map[string]json.RawMessage) (map[string]any, error) {
	thing := map[string]any{}
	for _, name := range append(userColumns(), "password", "kept_as") {
		if value, ok := fields[name]; ok {
			thing[name] = value
		}
	}
	for from, to := range map[string]string{"user_id": "name", "username": "name", "password_hash": "hash", "is_superuser": "superuser"} {
		if value, ok := fields[from]; ok {
			thing[to] = value
		}
	}
	if field(fields, "salt") == "" {
		delete(thing, "salt")
	}
	if thing["name"] == nil {
		return nil, errors.New("it has no name, and no user_id")
	}
	hash := field(fields, "password_hash") + field(fields, "hash")
	if hash == "" || strings.ContainsRune(hash, '$') || fields["algorithm"] != nil {
		if strings.HasPrefix(hash, "$2") {
			delete(thing, "salt") // EMQX repeats that of bcrypt
		}
		return thing, nil
	}
	return thing, u.digested(thing, hash, field(fields, "salt"))
}

// digested says how a hash was made that does not tell so itself.
func (u *userFile) digested(thing map[string]any, hash, salt string) error {
	switch u.algorithm {
	case "":
		return errors.New("its hash does not tell how it was made: say so with --algorithm, and with --salt-position if there is a salt")
	case "pbkdf2":
		sum, err := hex.DecodeString(hash)
		if err != nil {
			return errors.New("its hash is not hexadecimal")
		}
		digest := u.digest
		if digest == "sha" {
			digest = "sha1"
		}
		b64 := base64.RawStdEncoding.EncodeToString
		thing["hash"] = fmt.Sprintf("$pbkdf2-%s$i=%d$%s$%s", digest, u.iterations, b64([]byte(salt)), b64(sum))
		delete(thing, "salt")
		return nil
	}
	thing["algorithm"] = u.algorithm
	if u.algorithm == "sha" {
		thing["algorithm"] = "sha1"
	}
	switch {
	case salt == "" || u.position == "disable":
		delete(thing, "salt")
	case u.position == "":
		return errors.New("it has a salt: say with --salt-position whether that stands before the password or behind it")
	default:
		thing["salt_position"] = u.position
	}
	return nil
}

func (*userFile) lines(first string) bool {
	_, hash, ok := strings.Cut(first, ":")
	return strings.HasPrefix(first, "#") || ok && strings.HasPrefix(hash, "$")
}

func (*userFile) line(text string) (map[string]any, error) {
	name, hash, ok := strings.Cut(text, ":")
	if !ok {
		return nil, errors.New("it is not name:hash")
	}
	return map[string]any{"name": name, "hash": hash}, nil
}

// deviceColumns are those of an export of devices.
func deviceColumns() []string {
	return []string{"name", "key", "instance", "topics", "rules", "groups", "attributes", "limits", "disabled", "created"}
}

// deviceFile reads devices of our own, and the lists that the clouds' consoles
// give out.
type deviceFile struct{}

func deviceForms() deviceFile { return deviceFile{} }

func (deviceFile) help() string {
	return `FILE is one of
  JSON or CSV of fantail ctl device export, or with the columns name and key;
  CSV of Alibaba Cloud's console: ProductKey, DeviceName, DeviceSecret;
  CSV of Baidu's: IoTCoreId, DeviceKey, DeviceSecret.`
}

func (deviceFile) register(*cobra.Command) {}

func (deviceFile) thing(fields map[string]json.RawMessage) (map[string]any, error) {
	thing := map[string]any{}
	for _, name := range deviceColumns() {
		if value, ok := fields[name]; ok {
			thing[name] = value
		}
	}
	product, name, key, secret := field(fields, "productkey"), field(fields, "devicename"), field(fields, "devicekey"), field(fields, "devicesecret")
	switch {
	case thing["name"] != nil:
	case product != "" && name != "" && secret != "":
		thing["name"], thing["key"] = "alibaba/"+product+"/"+name, secret
	case key != "" && secret != "":
		thing["name"], thing["key"] = "baidu/"+key, secret
		if id := field(fields, "iotcoreid"); id != "" {
			thing["instance"] = id
		}
	default:
		return nil, errors.New("it has neither a name nor the columns of a device cloud")
	}
	return thing, nil
}

func (deviceFile) lines(string) bool { return false }

func (deviceFile) line(string) (map[string]any, error) { return nil, errors.ErrUnsupported }
