package cli

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/fantail-mqtt/fantail/client"
	"github.com/fantail-mqtt/fantail/packet"
	"github.com/fantail-mqtt/fantail/topic"
)

// link holds the flags that say how to reach a broker, and as whom. They are
// mosquitto's.
type link struct {
	host, unix, url string
	port            int
	user, password  string
	id, idPrefix    string
	keepAlive       int
	keep            bool
	expiry          string
	version         string
	bind, proxy     string
	nodelay         bool
	debug, quiet    bool
	properties      propertyList

	willTopic, willPayload string
	willQoS                int
	willRetain             bool

	tls tlsFlags
}

func (l *link) addFlags(cmd *cobra.Command, as guise) {
	f := cmd.Flags()
	f.Bool("help", false, "show this help") // -h is the host
	f.StringVarP(&l.host, "host", "h", "localhost", "connect to `HOST`")
	f.IntVarP(&l.port, "port", "p", 0, "connect to `PORT` (default 1883, with TLS 8883)")
	f.StringVar(&l.unix, "unix", "", "connect to the unix socket at `PATH`")
	f.StringVarP(&l.url, "url", "L", "", "connect to `URL`: mqtt(s)://[user[:password]@]host[:port]/topic, ws(s)://host[:port]/path")
	f.StringVarP(&l.user, "username", "u", "", "user `NAME`")
	f.StringVarP(&l.password, "pw", "P", "", "`PASSWORD` of the user")
	f.StringVarP(&l.id, "id", "i", "", "client `ID` (default: one that the broker assigns)")
	f.StringVarP(&l.idPrefix, "id-prefix", "I", "", "make the client id of `PREFIX` and the process number")
	f.IntVarP(&l.keepAlive, "keepalive", "k", 60, "say something to the broker every `SECONDS`")
	f.BoolVarP(&l.keep, "disable-clean-session", "c", false, "go on with the session of this client id, and keep it afterwards")
	f.StringVarP(&l.expiry, "session-expiry-interval", "x", "", "keep the session for `SECONDS` after the end; -1: for ever (default -1 with -c, else 0)")
	version := "5, or 311 where the broker knows no 5"
	if as == asMosquitto && cmd.Name() != "rr" {
		version, l.version = "311", "311"
	}
	f.StringVarP(&l.version, "protocol-version", "V", l.version, "speak MQTT `VERSION` 5, 311 or 31 (default "+version+")")
	f.StringVarP(&l.bind, "bind", "A", "", "connect from this local `ADDRESS`")
	f.StringVar(&l.proxy, "proxy", "", "connect through the SOCKS5 proxy at `URL`: socks5h://[user:password@]host[:port]")
	f.BoolVar(&l.nodelay, "nodelay", false, "send small packets at once (always so here)")
	f.BoolVarP(&l.debug, "debug", "d", false, "say on standard error what is sent and received")
	f.BoolVar(&l.quiet, "quiet", false, "print no errors")
	f.VarP(&l.properties, "property", "D", "add an MQTT 5 property, as in -D publish content-type text/plain")
	f.StringVar(&l.willTopic, "will-topic", "", "leave a will on `TOPIC`, which the broker publishes if this client is lost")
	f.StringVar(&l.willPayload, "will-payload", "", "`TEXT` of the will")
	f.IntVar(&l.willQoS, "will-qos", 0, "`QOS` of the will")
	f.BoolVar(&l.willRetain, "will-retain", false, "retain the will")
	l.tls.addFlags(f)
}

// plan is what the flags of a link come to.
type plan struct {
	options    client.Options
	address    string // as messages name it
	topic      string // from the URL
	fallback   bool   // 3.1.1 will do where the broker knows no 5
	properties *properties
}

func (l *link) plan(cmd *cobra.Command) (*plan, error) {
	p := &plan{}
	var err error
	if p.properties, err = parseProperties(l.properties); err != nil {
		return nil, err
	}
	if err := l.setVersion(p); err != nil {
		return nil, err
	}
	if err := l.setTarget(cmd, p); err != nil {
		return nil, err
	}
	if err := l.setSession(p); err != nil {
		return nil, err
	}
	if err := l.setWill(p); err != nil {
		return nil, err
	}
	return p, l.setDial(p)
}

// setDial says how connections are opened, where flags ask for a certain way.
func (l *link) setDial(p *plan) error {
	dialer := &net.Dialer{}
	if l.bind != "" {
		ip := net.ParseIP(l.bind)
		if ip == nil {
			return misuse("-A %s: this is no IP address", l.bind)
		}
		dialer.LocalAddr = &net.TCPAddr{IP: ip}
		p.options.NetDial = dialer.DialContext
	}
	if l.proxy != "" {
		return l.setProxy(p, dialer)
	}
	return nil
}

func (l *link) setVersion(p *plan) error {
	switch l.version {
	case "":
		p.options.Version = packet.V5
		p.fallback = len(l.properties) == 0 && l.expiry == ""
	case "5", "mqttv5", "5.0":
		p.options.Version = packet.V5
	case "311", "mqttv311", "3.1.1", "4":
		p.options.Version = packet.V311
	case "31", "mqttv31", "3.1", "3":
		p.options.Version = packet.V31
	default:
		return misuse("-V %s: the version is none of 5, 311 and 31", l.version)
	}
	if len(l.properties) > 0 && p.options.Version != packet.V5 {
		return misuse("-D: MQTT %v has no properties; use -V 5", p.options.Version)
	}
	return nil
}

func (l *link) setTarget(cmd *cobra.Command, p *plan) error {
	p.options.HasUserName = cmd.Flags().Changed("username")
	p.options.UserName = l.user
	if cmd.Flags().Changed("pw") {
		p.options.Password = []byte(l.password)
	}
	secure := l.tls.wanted()
	switch {
	case l.url != "":
		for _, name := range []string{"host", "port", "unix", "username", "pw"} {
			if cmd.Flags().Changed(name) {
				return misuse("-L has it all: it does not go with --%s", name)
			}
		}
		if err := l.takeURL(p); err != nil {
			return err
		}
		secure = secure || strings.HasPrefix(p.options.URL, "mqtts:") || strings.HasPrefix(p.options.URL, "wss:")
	case l.unix != "":
		p.address = l.unix
		p.options.URL = (&url.URL{Scheme: "unix", Path: l.unix}).String()
	default:
		if l.port < 0 || l.port > 65_535 || l.port == 0 && cmd.Flags().Changed("port") {
			return misuse("-p %d: a port is a number from 1 to 65535", l.port)
		}
		secure = secure || l.port == 8883
		scheme, port := "mqtt", 1883
		if secure {
			scheme, port = "mqtts", 8883
		}
		if l.port > 0 {
			port = l.port
		}
		if strings.ContainsAny(l.host, "/@?# ") || l.host == "" {
			return misuse("-h %q: this is no host; a URL goes to -L", l.host)
		}
		p.address = net.JoinHostPort(strings.Trim(l.host, "[]"), strconv.Itoa(port))
		p.options.URL = scheme + "://" + p.address
	}
	if !secure {
		return nil
	}
	config, err := l.tls.config()
	p.options.TLS = config
	return err
}

// takeURL reads -L. What follows the host of an mqtt URL is a topic as it is,
// wildcards included; of a ws URL it is the path to ask for.
func (l *link) takeURL(p *plan) error {
	scheme, rest, ok := strings.Cut(l.url, "://")
	if !ok {
		return misuse("-L %s: this is no URL; write mqtt://host/topic", l.url)
	}
	switch scheme {
	case "mqtt", "mqtts":
	case "ws", "wss", "unix":
		p.options.URL, p.address = l.url, l.url
		if u, err := url.Parse(l.url); err == nil {
			p.address = u.Redacted()
		}
		return nil
	default:
		return misuse("-L %s: the scheme is none of mqtt, mqtts, ws, wss and unix", l.url)
	}
	authority, name, _ := strings.Cut(rest, "/")
	u, err := url.Parse(scheme + "://" + authority)
	if err != nil || u.Hostname() == "" {
		return misuse("-L %s: this is no URL; write mqtt://user:password@host:port/topic", l.url)
	}
	p.topic = name
	p.options.URL = u.String()
	u.User = nil
	p.address = u.Host
	if u.Port() == "" {
		p.address = net.JoinHostPort(u.Hostname(), map[string]string{"mqtt": "1883", "mqtts": "8883"}[scheme])
	}
	return nil
}

func (l *link) setSession(p *plan) error {
	o := &p.options
	if l.keepAlive < 0 || l.keepAlive > 65_535 {
		return misuse("-k %d: a keep-alive is a number of seconds from 0 to 65535", l.keepAlive)
	}
	o.KeepAlive = time.Duration(l.keepAlive) * time.Second
	switch {
	case l.id != "" && l.idPrefix != "":
		return misuse("-i and -I exclude each other")
	case l.idPrefix != "":
		o.ClientID = l.idPrefix + strconv.Itoa(os.Getpid())
	case l.id == "" && l.keep:
		return misuse("-c needs a client id: give -i")
	case l.id == "" && o.Version == packet.V31: // 3.1 has no empty one
		o.ClientID = fmt.Sprintf("fantail_%d", os.Getpid())
	default:
		o.ClientID = l.id
	}
	o.CleanStart = !l.keep
	o.Properties = p.properties.connect
	if o.Version != packet.V5 {
		return nil
	}
	if l.keep && !o.Properties.HasSessionExpiry {
		o.Properties.SessionExpiry, o.Properties.HasSessionExpiry = 1<<32-1, true
	}
	if l.expiry == "" {
		return nil
	}
	o.Properties.HasSessionExpiry = true
	if why := expiry(l.expiry, &o.Properties.SessionExpiry); why != "" {
		return misuse("-x %s: %s", l.expiry, why)
	}
	return nil
}

func (l *link) setWill(p *plan) error {
	if l.willTopic == "" {
		if l.willPayload != "" || l.willQoS != 0 || l.willRetain || len(p.properties.will.Forward) > 0 {
			return misuse("a will needs --will-topic")
		}
		return nil
	}
	if err := topic.ValidName(l.willTopic, 0); err != nil {
		return misuse("--will-topic %s: %v", l.willTopic, err)
	}
	if err := checkQoS("--will-qos", l.willQoS); err != nil {
		return err
	}
	will := p.properties.will
	will.Topic, will.Payload, will.QoS, will.Retain = l.willTopic, []byte(l.willPayload), byte(l.willQoS), l.willRetain
	p.options.Will = &will
	return nil
}

func checkQoS(name string, qos int) error {
	if qos < 0 || qos > 2 {
		return misuse("%s %d: a QoS is 0, 1 or 2", name, qos)
	}
	return nil
}
