package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseListener(t *testing.T) {
	tests := map[string]Listener{
		"tcp://0.0.0.0:1883":                           {Scheme: SchemeTCP, Address: "0.0.0.0:1883"},
		"tcp://:0":                                     {Scheme: SchemeTCP, Address: ":0"},
		"tcp://[::1]:1883":                             {Scheme: SchemeTCP, Address: "[::1]:1883"},
		"tcp://localhost:1883":                         {Scheme: SchemeTCP, Address: "localhost:1883"},
		"tcp://:1883?proxy_protocol=true":              {Scheme: SchemeTCP, Address: ":1883", ProxyProtocol: true},
		"tcp://:1883?max_connections=5&connect_rate=7": {Scheme: SchemeTCP, Address: ":1883", MaxConnections: 5, ConnectRate: 7},
		"tcp://:1883?cert=c&key=k": {
			Scheme: SchemeTCP, Address: ":1883", Cert: "c", Key: "k", ClientCert: ClientCertNone, MinVersion: "1.2",
		},
		"tls://0.0.0.0:8883?cert=/etc/my%20certs/c.pem&key=k&client_ca=ca&client_cert=optional&min_version=1.3": {
			Scheme: SchemeTLS, Address: "0.0.0.0:8883", Cert: "/etc/my certs/c.pem", Key: "k",
			ClientCA: "ca", ClientCert: ClientCertOptional, MinVersion: "1.3",
		},
		"tls://:8883?cert=c&key=k&client_ca=ca&crl=r": {
			Scheme: SchemeTLS, Address: ":8883", Cert: "c", Key: "k", ClientCA: "ca", CRL: "r", ClientCert: ClientCertRequire, MinVersion: "1.2",
		},
		"tls://:8883?cert=c&key=k&client_ca=ca": {
			Scheme: SchemeTLS, Address: ":8883", Cert: "c", Key: "k", ClientCA: "ca", ClientCert: ClientCertRequire, MinVersion: "1.2",
		},
		"ws://:8083":               {Scheme: SchemeWS, Address: ":8083"},
		"ws://:8083/mqtt":          {Scheme: SchemeWS, Address: ":8083", Path: "/mqtt"},
		"wss://:8084?cert=c&key=k": {Scheme: SchemeWSS, Address: ":8084", Cert: "c", Key: "k", ClientCert: ClientCertNone, MinVersion: "1.2"},
		"unix:///run/fantail.sock": {Scheme: SchemeUnix, Address: "/run/fantail.sock"},
		"http://127.0.0.1:18083":   {Scheme: SchemeHTTP, Address: "127.0.0.1:18083"},
	}
	for text, want := range tests {
		t.Run(text, func(t *testing.T) {
			got, err := ParseListener(text)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			again, err := ParseListener(got.String())
			if err != nil || again != got {
				t.Errorf("String gave %q, which parses to %+v, %v", got, again, err)
			}
		})
	}
}

func TestParseListenerNamesEveryMistake(t *testing.T) {
	long := strings.Repeat("x", 107)
	tests := map[string][]string{
		"1883":                 {`"1883" is no listener: write a URL such as tcp://0.0.0.0:1883`},
		"":                     {`"" is no listener: write a URL such as tcp://0.0.0.0:1883`},
		"mqtt://:1883":         {`unknown scheme "mqtt": did you mean tcp?`},
		"mqtts://:8883":        {`unknown scheme "mqtts": did you mean tls?`},
		"https://:18083":       {"https is not served: use http on loopback behind a proxy that has the certificate"},
		"gopher://:70":         {`unknown scheme "gopher": use one of tcp, tls, ws, wss, unix, http`},
		"tcp://a b:1":          {`"tcp://a b:1" is no URL: invalid character " " in host name`},
		"tcp://me@:1883":       {`"tcp://me@:1883" has a user or a # in it, which mean nothing to a listener`},
		"tcp://0.0.0.0":        {`"0.0.0.0" needs a host and a port, such as tcp://0.0.0.0:1883`},
		"tls://:?cert=c&key=k": {`":" needs a host and a port, such as tls://0.0.0.0:8883`},
		"tcp://:65536":         {`port "65536" is not between 0 and 65535`},
		"tcp://*:1883":         {`"*" is no host: write an address, or 0.0.0.0 for all`},
		"tcp://:1883/mqtt":     {`a tcp listener has no path "/mqtt": only ws and wss have one`},
		"tls://:8883":          {"cert: is missing: a tls listener needs the PEM files cert and key"},
		"wss://:8084?key=k":    {"cert: is missing: a key is of use only with its certificate"},
		"tls://:8883?cert=c":   {"key: is missing: the certificate needs its key"},
		"tcp://:1883?client_ca=c": {
			"cert: is missing: client_ca, crl, client_cert and min_version are of use only with cert and key",
		},
		"tls://:8883?cert=c&key=k&client_cert=require": {"client_ca: is missing: it says which client certificates are good"},
		"tls://:8883?cert=c&key=k&client_cert=maybe&min_version=1.1": {
			`client_cert: "maybe" is not none, optional or require`,
			`min_version: "1.1" is not 1.2 or 1.3`,
		},
		"tls://:8883?cert=c&key=k&crl=r":  {"crl: means nothing here: it is for client certificates, which client_ca asks for"},
		"unix:///s?crl=r":                 {"crl: means nothing here: TLS is for tcp, tls, ws and wss"},
		"tcp://:1883?proxy-protocol=true": {`unknown option "proxy-protocol": did you mean proxy_protocol?`},
		"tcp://:1883?zzz=1":               {`unknown option "zzz": the options are cert, key, client_ca, crl, client_cert, min_version, proxy_protocol, max_connections, connect_rate`},
		"tcp://:1883?proxy_protocol=1":    {`proxy_protocol: "1" is neither true nor false`},
		"tls://:8883?cert=c&cert=d&key=k": {"cert: is given twice"},
		"tcp://:1883?a;b":                 {`the options of "tcp://:1883?a;b" cannot be read: invalid semicolon separator in query`},
		"unix://run/fantail.sock":         {`"unix://run/fantail.sock" does not begin at the root: write three slashes, unix:///run/fantail.sock`},
		"unix://":                         {"a unix listener needs a path of 1 to 107 bytes, such as unix:///run/fantail.sock"},
		"unix:///" + long:                 {"a unix listener needs a path of 1 to 107 bytes, such as unix:///run/fantail.sock"},
		"unix:///s?cert=c&key=k":          {"cert: means nothing here: TLS is for tcp, tls, ws and wss"},
		"http://:18083?min_version=1.2&proxy_protocol=true": {
			"min_version: means nothing here: TLS is for tcp, tls, ws and wss",
			"proxy_protocol: means nothing here: an http listener reads no PROXY header",
		},
	}
	for text, want := range tests {
		t.Run(text, func(t *testing.T) {
			_, err := ParseListener(text)
			var got []string
			for _, m := range mistakesOf(t, err) {
				if m.Key != text {
					t.Errorf("key = %q, want the listener as it was written", m.Key)
				}
				got = append(got, m.Text)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
