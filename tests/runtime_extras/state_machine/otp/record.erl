%% Records what gen_statem does with scripted machines: escript-free, run by record.sh beside it.
%% scenarios.terms holds {Id, Initial, InitActions, StateEnter, Rules, Drive} terms; one JSON line a scenario is printed.
%% Rules is [{{State, Key}, Next, Actions}]; Key is the content of the event, or {enter, Previous}.
%% Time-outs are units of UNIT milliseconds and a little more by clock, so that no two are due at once.
-module(record).
-behaviour(gen_statem).
-export([main/0, init/1, callback_mode/0, handle_event/4]).
-define(UNIT, 60).
-define(STEPS, 60).

main() ->
    logger:set_primary_config(level, none),
    {ok, Scenarios} = file:consult("scenarios.terms"),
    Self = self(),
    Batches = batches(Scenarios, 60),
    [begin
         Pids = [spawn(fun() -> Self ! {self(), run(S)} end) || S <- Batch],
         [receive {P, Line} -> io:format("~s~n", [Line]) end || P <- Pids]
     end || Batch <- Batches],
    halt().

batches([], _) -> [];
batches(L, N) when length(L) =< N -> [L];
batches(L, N) -> {A, B} = lists:split(N, L), [A | batches(B, N)].

run({Id, Initial, InitActions, Enter, Rules, Drive}) ->
    process_flag(trap_exit, true),
    Log = ets:new(log, [ordered_set, public]),
    put(log, Log),
    {ok, Pid} = gen_statem:start_link(?MODULE, {Initial, InitActions, Enter, Rules, Log}, []),
    Requests = drive(Drive, Pid, []),
    timer:sleep(?UNIT * 2),
    Stopped = receive {'EXIT', Pid, R} -> reason(R) after 0 -> "alive" end,
    Replies = [reply(Req) || Req <- lists:reverse(Requests)],
    Trace = [T || {_, T} <- ets:tab2list(Log)],
    case Stopped of "alive" -> exit(Pid, kill); _ -> ok end,
    io_lib:format("{\"id\": ~p, \"trace\": [~s], \"replies\": [~s], \"end\": \"~s\"}",
                  [Id, join(Trace), join(Replies), Stopped]).

reason(normal) -> "normal";
reason({{bad_state_enter_return_from_state_function, _}, _}) -> "crash";
reason({{bad_state_enter_action_from_state_function, _}, _}) -> "crash";
reason(R) -> lists:flatten(string:replace(io_lib:format("~p", [R]), "\"", "'", all)).

reply({Key, Req}) ->
    case gen_statem:wait_response(Req, 0) of
        {reply, V} -> quoted([Key, V]);
        timeout -> quoted([Key, none]);
        {error, {_, _}} -> quoted([Key, dead])
    end.

join(L) -> lists:join(", ", L).
quoted(Atoms) -> ["[", join([["\"", io_lib:format("~p", [A]), "\""] || A <- Atoms]), "]"].

drive([], _, Acc) -> Acc;
drive([{cast, K} | T], Pid, Acc) -> gen_statem:cast(Pid, K), drive(T, Pid, Acc);
drive([{info, K} | T], Pid, Acc) -> Pid ! K, drive(T, Pid, Acc);
drive([{call, K} | T], Pid, Acc) -> drive(T, Pid, [{K, gen_statem:send_request(Pid, K)} | Acc]);
drive([{sleep, N} | T], Pid, Acc) -> timer:sleep(?UNIT * N div 2), drive(T, Pid, Acc).

init({Initial, Actions, Enter, Rules, Log}) ->
    put(enter, Enter),
    {ok, Initial, {Enter, Rules, Log, 0}, [action(A, none) || A <- Actions]}.

callback_mode() ->
    case get(enter) of true -> [handle_event_function, state_enter]; _ -> handle_event_function end.

handle_event(Type, Content, State, {Enter, Rules, Log, N}) ->
    Kind = case Type of {call, _} -> call; {timeout, Name} -> Name; T -> T end,
    ets:insert(Log, {N, quoted([State, Kind, Content])}),
    Data = {Enter, Rules, Log, N + 1},
    Key = case Type of enter -> {enter, Content}; _ -> Content end,
    case N of
        ?STEPS -> {stop, normal};
        _ ->
            case lists:keyfind({State, Key}, 1, Rules) of
                false -> {keep_state, Data};
                {_, Next, Actions} ->
                    Done = [action(A, Type) || A <- Actions, possible(A, Type)],
                    case Next of
                        keep -> {keep_state, Data, Done};
                        repeat -> {repeat_state, Data, Done};
                        stop -> {stop_and_reply, normal, [A || A <- Done, element(1, A) =:= reply], Data};
                        _ -> {next_state, Next, Data, Done}
                    end
            end
    end.

possible({reply, _}, {call, _}) -> true;
possible({reply, _}, _) -> false;
possible(_, _) -> true.

action({reply, V}, {call, From}) -> {reply, From, V};
action(postpone, _) -> postpone;
action({insert, K}, _) -> {next_event, internal, K};
action({set, Clock, infinity, C}, _) -> {clock(Clock), infinity, C};
action({set, Clock, 0, C}, _) -> {clock(Clock), 0, C};
action({set, Clock, T, C}, _) -> {clock(Clock), T * ?UNIT + more(Clock), C};
action({cancel, Clock}, _) -> {clock(Clock), cancel};
action({update, Clock, C}, _) -> {clock(Clock), update, C}.

clock(state) -> state_timeout;
clock(event) -> timeout;
clock(Name) -> {timeout, Name}.

more(state) -> 5;
more(event) -> 11;
more(n1) -> 14;
more(n2) -> 18.
